package deploy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestNetworkPolicyAddresses: the policy lets out to what listens on the node's link-local
// addresses, which no selector of pods matches: NodeLocal DNSCache, and the agent of EKS Pod
// Identity in clusters of IPv4 and of IPv6 ("EKS Pod Identity restrictions" in the EKS user guide).
func TestNetworkPolicyAddresses(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy", "kubernetes", "networkpolicy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Spec struct {
			Egress []struct {
				To []struct {
					IPBlock struct{ CIDR string } `yaml:"ipBlock"`
				}
				Ports []struct{ Port int }
			}
		}
	}
	if err := yaml.Load(text, &policy); err != nil {
		t.Fatal(err)
	}
	for address, port := range map[string]int{"169.254.20.10": 53, "169.254.170.23": 80, "fd00:ec2::23": 80} {
		let := false
		for _, rule := range policy.Spec.Egress {
			for _, to := range rule.To {
				block, err := netip.ParsePrefix(to.IPBlock.CIDR)
				let = let || err == nil && block.Contains(netip.MustParseAddr(address)) && rule.Ports[0].Port == port
			}
		}
		if !let {
			t.Errorf("port %d of %s is shut", port, address)
		}
	}
}
