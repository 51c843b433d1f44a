package manifest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	minDelay     = "CREDPROXY_SHUTDOWN_MIN_DELAY"
	drainTimeout = 30 * time.Second // default of shutdown.drain_timeout
	defaultGrace = 30 * time.Second // of terminationGracePeriodSeconds
	breakGlass   = "/etc/credproxy-break-glass"
)

// checker collects what is wrong with objects that are applied together.
type checker struct {
	objects []meta.Object
	wrong   []string
}

// Check says what is wrong with objects that are applied together.
func Check(objects []meta.Object) []string {
	c := &checker{objects: objects}
	for _, object := range objects {
		if pod := PodTemplate(object); pod != nil {
			c.pod(object.GetName(), object.GetNamespace(), &pod.Spec)
			c.roleKept(object.GetName(), pod)
		}
		switch o := object.(type) {
		case *batch.CronJob:
			c.rotation(o)
		case *networking.NetworkPolicy:
			c.selects(o, &o.Spec.PodSelector, networkPorts(o)...)
		case *PodMonitor:
			for _, e := range o.Spec.PodMetricsEndpoints {
				c.selects(o, &o.Spec.Selector, e.Port)
				if !slices.Contains(e.Relabelings, Relabel{"job", "credproxy"}) {
					c.say("%s: the alerts look for the job credproxy", o.Name)
				}
			}
			c.labelled(o)
		case *PrometheusRule:
			c.labelled(o)
			for _, g := range o.Spec.Groups {
				if len(g.Rules) == 0 {
					c.say("%s: group %q has no rule", o.Name, g.Name)
				}
			}
		case *Certificate:
			if !has[*Issuer](c, o.Namespace, o.Spec.IssuerRef.Name) {
				c.say("%s: no issuer %q", o.Name, o.Spec.IssuerRef.Name)
			}
		case *Issuer:
			made := func(object meta.Object) bool {
				ca, ok := object.(*Certificate)
				return ok && ca.Spec.IsCA && ca.Spec.SecretName == o.Spec.CA.SecretName
			}
			if o.Spec.CA != nil && !slices.ContainsFunc(objects, made) {
				c.say("%s: no certificate makes the secret %q", o.Name, o.Spec.CA.SecretName)
			}
		case *core.Service:
			for _, p := range o.Spec.Ports {
				c.selects(o, &meta.LabelSelector{MatchLabels: o.Spec.Selector}, p.TargetPort.StrVal)
			}
		case *SecretProviderClass:
			var secrets []AWSSecret
			if err := unmarshal([]byte(o.Spec.Parameters["objects"]), &secrets); err != nil || len(secrets) == 0 {
				c.say("%s: parameters.objects: %v", o.Name, err)
			}
		}
	}
	return c.wrong
}

func (c *checker) say(format string, args ...any) {
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// labelled wants a label by which a Prometheus of the operator may select.
func (c *checker) labelled(o meta.Object) {
	if len(o.GetLabels()) == 0 {
		c.say("%s: has no label that a selector could find", o.GetName())
	}
}

// roleKept wants the AWS role kept from all containers but credproxy's. The webhook of EKS
// reads the annotation for IRSA and for Pod Identity, for init containers and for others.
// https://github.com/aws/amazon-eks-pod-identity-webhook#eks-walkthrough
func (c *checker) roleKept(name string, pod *core.PodTemplateSpec) {
	skipped := strings.Split(pod.Annotations["eks.amazonaws.com/skip-containers"], ",")
	for _, container := range containers(&pod.Spec) {
		if container.Name != "credproxy" && !slices.Contains(skipped, container.Name) {
			c.say("%s: container %s gets credproxy's AWS role: name it in eks.amazonaws.com/skip-containers", name, container.Name)
		}
	}
}

func networkPorts(p *networking.NetworkPolicy) (names []string) {
	for _, rule := range p.Spec.Ingress {
		for _, port := range rule.Ports {
			names = append(names, port.Port.String())
		}
	}
	return names
}

// selects wants a pod that the selector finds, with the ports of these names or numbers.
func (c *checker) selects(by meta.Object, selector *meta.LabelSelector, ports ...string) {
	want, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		c.say("%s: %v", by.GetName(), err)
		return
	}
	found := false
	for _, object := range c.objects {
		pod := PodTemplate(object)
		if pod == nil || object.GetNamespace() != by.GetNamespace() || !want.Matches(labels.Set(pod.Labels)) {
			continue
		}
		found = true
		for _, name := range ports {
			if name != "" && !hasPort(&pod.Spec, intstr.Parse(name)) {
				c.say("%s: %s has no port %q", by.GetName(), object.GetName(), name)
			}
		}
	}
	if !found {
		c.say("%s: selects no pod", by.GetName())
	}
}

func hasPort(pod *core.PodSpec, port intstr.IntOrString) bool {
	for _, container := range containers(pod) {
		for _, p := range container.Ports {
			if port.StrVal == p.Name && p.Name != "" || port.IntVal == p.ContainerPort {
				return true
			}
		}
	}
	return false
}

func containers(pod *core.PodSpec) []core.Container {
	return append(append([]core.Container{}, pod.InitContainers...), pod.Containers...)
}

// has reports whether an object of the type is there.
func has[T meta.Object](c *checker, namespace, name string) bool {
	for _, object := range c.objects {
		if _, ok := object.(T); ok && object.GetName() == name && object.GetNamespace() == namespace {
			return true
		}
	}
	return false
}

func (c *checker) pod(name, namespace string, pod *core.PodSpec) {
	if pod.ServiceAccountName == "" || !has[*core.ServiceAccount](c, namespace, pod.ServiceAccountName) {
		c.say("%s: no service account %q", name, pod.ServiceAccountName)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && !has[*core.ConfigMap](c, namespace, v.ConfigMap.Name) {
			c.say("%s: no config map %q", name, v.ConfigMap.Name)
		}
		if v.CSI != nil && !has[*SecretProviderClass](c, namespace, v.CSI.VolumeAttributes["secretProviderClass"]) {
			c.say("%s: no secret provider class %q", name, v.CSI.VolumeAttributes["secretProviderClass"])
		}
	}
	proxies := 0
	for _, container := range containers(pod) {
		for _, m := range container.VolumeMounts {
			if !volumes[m.Name] {
				c.say("%s: %s mounts %q, which is no volume", name, container.Name, m.Name)
			}
		}
		for _, p := range container.Ports {
			for _, why := range validation.IsValidPortName(p.Name) {
				c.say("%s: port %q: %s", name, p.Name, why)
			}
		}
		if container.Name == "credproxy" {
			proxies++
			c.confined(name, &container)
			if container.Args[0] == "run" {
				c.proxy(name, pod, &container)
			}
		}
	}
	if proxies != 1 {
		c.say("%s: %d containers credproxy", name, proxies)
	}
}

// confined holds a container of credproxy to what docs/kubernetes.md promises of it.
func (c *checker) confined(name string, container *core.Container) {
	s := container.SecurityContext
	if s == nil || !isTrue(s.RunAsNonRoot) || !isTrue(s.ReadOnlyRootFilesystem) || s.AllowPrivilegeEscalation == nil ||
		*s.AllowPrivilegeEscalation || s.Capabilities == nil || len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" {
		c.say("%s: security context", name)
	}
	if container.Resources.Requests.Memory().IsZero() || container.Resources.Limits.Memory().IsZero() {
		c.say("%s: no memory request or limit", name)
	}
}

// proxy holds the container that runs credproxy to what docs/kubernetes.md promises of it.
func (c *checker) proxy(name string, pod *core.PodSpec, container *core.Container) {
	for what, probe := range map[string]*core.Probe{"startup": container.StartupProbe, "readiness": container.ReadinessProbe, "liveness": container.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/"+what || !hasPort(pod, probe.HTTPGet.Port) {
			c.say("%s: %s probe", name, what)
		}
	}
	file := container.Args[len(container.Args)-1]
	mounted, emergency := false, false
	for _, m := range container.VolumeMounts {
		mounted = mounted || strings.HasPrefix(file, m.MountPath+"/")
		optional := func(v core.Volume) bool { return v.Name == m.Name && v.Secret != nil && isTrue(v.Secret.Optional) }
		emergency = emergency || m.MountPath == breakGlass && m.ReadOnly && slices.ContainsFunc(pod.Volumes, optional)
	}
	if !mounted {
		c.say("%s: nothing is mounted for %s", name, file)
	}
	if !emergency {
		c.say("%s: no optional secret is mounted at %s", name, breakGlass)
	}
	need := drainTimeout
	for _, v := range container.Env {
		if v.Name == minDelay {
			d, err := time.ParseDuration(v.Value)
			if err != nil {
				c.say("%s: %s: %v", name, minDelay, err)
			}
			need += d
		}
	}
	grace := defaultGrace
	if given := pod.TerminationGracePeriodSeconds; given != nil {
		grace = time.Duration(*given) * time.Second
	}
	if grace < need {
		c.say("%s: terminationGracePeriodSeconds is shorter than min_delay and drain, %v", name, need)
	}
}

// rotation holds a CronJob to what a rotation needs: never two at a time, an end, few
// attempts, and the logs of those that failed.
func (c *checker) rotation(j *batch.CronJob) {
	job := j.Spec.JobTemplate.Spec
	if j.Spec.ConcurrencyPolicy != batch.ForbidConcurrent {
		c.say("%s: concurrencyPolicy %q", j.Name, j.Spec.ConcurrencyPolicy)
	}
	if job.BackoffLimit == nil || *job.BackoffLimit > 3 {
		c.say("%s: backoffLimit: each attempt may be a failed login", j.Name)
	}
	if job.ActiveDeadlineSeconds == nil {
		c.say("%s: no activeDeadlineSeconds", j.Name)
	}
	if job.Template.Spec.RestartPolicy != core.RestartPolicyNever {
		c.say("%s: restart policy %q", j.Name, job.Template.Spec.RestartPolicy)
	}
	if fields := strings.Fields(j.Spec.Schedule); len(fields) != 5 {
		c.say("%s: schedule %q", j.Name, j.Spec.Schedule)
	}
	for _, container := range job.Template.Spec.Containers {
		if len(container.Args) < 2 || container.Args[0] != "rotate" {
			c.say("%s: %s does not rotate a secret", j.Name, container.Name)
		}
	}
}

func isTrue(b *bool) bool { return b != nil && *b }
