package manifest

import meta "k8s.io/apimachinery/pkg/apis/meta/v1"

// PodMonitor is the part of the Prometheus operator's type that deploy/ uses.
// https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitor
type PodMonitor struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Selector            meta.LabelSelector `json:"selector"`
		PodMetricsEndpoints []struct {
			Port        string    `json:"port"`
			Path        string    `json:"path"`
			Interval    string    `json:"interval"`
			Relabelings []Relabel `json:"relabelings"`
		} `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

// Relabel sets a label of a target.
type Relabel struct {
	TargetLabel string `json:"targetLabel"`
	Replacement string `json:"replacement"`
}

// PrometheusRule is the part of the Prometheus operator's type that deploy/ uses. promtool
// checks the rules themselves.
// https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PrometheusRule
type PrometheusRule struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				For         string            `json:"for"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	} `json:"spec"`
}

// Issuer is the part of cert-manager's type that deploy/ uses.
// https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.Issuer
type Issuer struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		SelfSigned *struct{} `json:"selfSigned"`
		CA         *struct {
			SecretName string `json:"secretName"`
		} `json:"ca"`
	} `json:"spec"`
}

// Certificate is the part of cert-manager's type that deploy/ uses.
// https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.Certificate
type Certificate struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		IsCA       bool     `json:"isCA"`
		CommonName string   `json:"commonName"`
		DNSNames   []string `json:"dnsNames"`
		SecretName string   `json:"secretName"`
		Duration   string   `json:"duration"`
		Usages     []string `json:"usages"`
		PrivateKey struct {
			Algorithm string `json:"algorithm"`
			Size      int    `json:"size"`
		} `json:"privateKey"`
		IssuerRef struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"issuerRef"`
	} `json:"spec"`
}

// SecretProviderClass is the part of the Secrets Store CSI driver's type that deploy/ uses.
// https://secrets-store-csi-driver.sigs.k8s.io/concepts#secretproviderclass
type SecretProviderClass struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Provider   string            `json:"provider"`
		Parameters map[string]string `json:"parameters"`
	} `json:"spec"`
}

// AWSSecret is an entry of the parameter "objects" of the driver's AWS provider.
// https://github.com/aws/secrets-store-csi-driver-provider-aws#secretproviderclass-options
type AWSSecret struct {
	ObjectName  string `json:"objectName"`
	ObjectType  string `json:"objectType"`
	ObjectAlias string `json:"objectAlias"`
}
