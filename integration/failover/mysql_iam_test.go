package failover_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/integration/awsstub"
	"github.com/credproxy/credproxy/integration/dnsstub"
	"github.com/credproxy/credproxy/integration/pki"
	"github.com/credproxy/credproxy/integration/servers"
	"github.com/credproxy/credproxy/integration/sidecar"
)

// TestMySQLTokenOfEachServer has two servers that take tokens for their own endpoint alone, as
// those of RDS do, and change roles twice.
func TestMySQLTokenOfEachServer(t *testing.T) {
	for _, flavor := range servers.MySQLFlavors() {
		t.Run(flavor, func(t *testing.T) {
			t.Parallel()
			const accessKey = "planted-Access-Key-1"
			aws, err := awsstub.Start(awsstub.Options{Identities: []awsstub.Identity{{AccessKeyID: "ASIAPLANTEDFAILOVER", SecretAccessKey: accessKey, SessionToken: "planted-Session-1"}}})
			must(t, err)
			t.Cleanup(aws.Close)
			ca, err := pki.NewCA("orders")
			must(t, err)
			caFile, err := ca.Write(t.TempDir(), "ca")
			must(t, err)
			names := dnsstub.Run(t)
			names.Point(rdsCluster, hostA)
			port, err := servers.FreePort()
			must(t, err)
			both := map[string]*servers.MySQL{}
			for host, name := range rdsInstance {
				names.Point(name, host)
				verifier, err := servers.StartTokenVerifier(func(user, token string) error {
					err := aws.VerifyRDSToken(token, name, port, user, time.Now())
					if host == hostA && err != nil { // which the cluster's endpoint leads to
						err = aws.VerifyRDSToken(token, rdsCluster, port, user, time.Now())
					}
					return err
				})
				must(t, err)
				t.Cleanup(func() { _ = verifier.Close() })
				cert, err := ca.Issue(pki.Leaf{Names: []string{name, rdsCluster}})
				must(t, err)
				both[host] = servers.RunMySQL(t, servers.MySQLOptions{Flavor: flavor, Host: host, Port: port, Certificate: cert, CA: ca, IAM: verifier})
				must(t, both[host].CreateIAMUser(t.Context(), appUser))
			}
			must(t, both[hostB].SetReadOnly(t.Context(), true))
			program, err := names.Wrap(t.TempDir(), binary)
			must(t, err)
			proxy := sidecar.Run(t, sidecar.Options{Binary: program, Env: aws.Env(), Config: fmt.Sprintf(
				"databases:\n  - {name: orders, engine: %s, listen: '127.0.0.1:0', host: %s, port: %d, hosts: [%s, %s], role: writer, database: none, credentials: {iam: {user: %s}}, tls: {ca_file: %q}}\n",
				flavor, rdsCluster, port, rdsInstance[hostA], rdsInstance[hostB], appUser, caFile)}, accessKey)
			visit := func(want string) {
				t.Helper()
				host, port, _ := net.SplitHostPort(proxy.Addr(t, "orders"))
				session, err := mySQL{flavor}.connect(t.Context(), door{host: host, port: port, user: "anybody"})
				must(t, err)
				defer session.close()
				if at, reader, err := session.who(t.Context()); err != nil || reader || at != want {
					t.Errorf("at %s, reader %v (%v), want %s", at, reader, err, want)
				}
			}
			visit(hostA)
			for _, c := range []struct{ from, to string }{{hostA, hostB}, {hostB, hostA}} {
				must(t, both[c.from].SetReadOnly(t.Context(), true))
				must(t, both[c.to].SetReadOnly(t.Context(), false))
				visit(c.to)
			}
			if strings.Contains(proxy.Log(), "X-Amz-Signature") {
				t.Error("a token is in the log")
			}
		})
	}
}
