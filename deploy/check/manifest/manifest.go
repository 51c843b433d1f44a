// Package manifest reads Kubernetes manifests as strictly as the API server would, with
// Kubernetes' own types, and looks for what the server would not tell: names that
// point nowhere, and pods that are not as credproxy needs them.
//
// Invariant: a key that the type does not have is an error.
//
// It talks to no cluster: defaults, admission and custom resources' own rules are not checked.
package manifest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	lines "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// kinds are the types of what deploy/ has.
var kinds = map[meta.TypeMeta]func() meta.Object{
	{APIVersion: "apps/v1", Kind: "Deployment"}:                                func() meta.Object { return new(apps.Deployment) },
	{APIVersion: "batch/v1", Kind: "CronJob"}:                                  func() meta.Object { return new(batch.CronJob) },
	{APIVersion: "batch/v1", Kind: "Job"}:                                      func() meta.Object { return new(batch.Job) },
	{APIVersion: "v1", Kind: "ConfigMap"}:                                      func() meta.Object { return new(core.ConfigMap) },
	{APIVersion: "v1", Kind: "Service"}:                                        func() meta.Object { return new(core.Service) },
	{APIVersion: "v1", Kind: "ServiceAccount"}:                                 func() meta.Object { return new(core.ServiceAccount) },
	{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}:                func() meta.Object { return new(networking.NetworkPolicy) },
	{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}:                     func() meta.Object { return new(policy.PodDisruptionBudget) },
	{APIVersion: "cert-manager.io/v1", Kind: "Certificate"}:                    func() meta.Object { return new(Certificate) },
	{APIVersion: "cert-manager.io/v1", Kind: "Issuer"}:                         func() meta.Object { return new(Issuer) },
	{APIVersion: "monitoring.coreos.com/v1", Kind: "PodMonitor"}:               func() meta.Object { return new(PodMonitor) },
	{APIVersion: "monitoring.coreos.com/v1", Kind: "PrometheusRule"}:           func() meta.Object { return new(PrometheusRule) },
	{APIVersion: "secrets-store.csi.x-k8s.io/v1", Kind: "SecretProviderClass"}: func() meta.Object { return new(SecretProviderClass) },
}

// Decode reads the documents of a YAML file.
func Decode(text []byte) (objects []meta.Object, err error) {
	for docs := lines.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if empty, err := yaml.YAMLToJSON(doc); err == nil && bytes.Equal(empty, []byte("null")) {
			continue // comments only
		}
		var kind meta.TypeMeta
		if err := yaml.Unmarshal(doc, &kind); err != nil {
			return nil, err
		}
		make, known := kinds[kind]
		if !known {
			return nil, fmt.Errorf("no type for %+v", kind)
		}
		object := make()
		if err := unmarshal(doc, object); err != nil {
			return nil, fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
		}
		objects = append(objects, object)
	}
}

// unmarshal is as strict as the API server: it knows the case of keys, too.
func unmarshal(doc []byte, into any) error {
	text, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return err
	}
	unknown, err := json.UnmarshalStrict(text, into)
	return errors.Join(append(unknown, err)...)
}

// PodTemplate is the pods that an object makes, if it makes some.
func PodTemplate(object meta.Object) *core.PodTemplateSpec {
	switch o := object.(type) {
	case *apps.Deployment:
		return &o.Spec.Template
	case *batch.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	case *batch.Job:
		return &o.Spec.Template
	}
	return nil
}

// Config is the configuration of credproxy in a ConfigMap.
func Config(object meta.Object) (text string, found bool) {
	m, ok := object.(*core.ConfigMap)
	if !ok {
		return "", false
	}
	text, found = m.Data["credproxy.yaml"]
	return text, found
}
