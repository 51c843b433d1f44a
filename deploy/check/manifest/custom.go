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
			Port     string `json:"port"`
			Path     string `json:"path"`
			Interval string `json:"interval"`
		} `json:"podMetricsEndpoints"`
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
