package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/config"
)

func TestDiscover(t *testing.T) {
	c := mustParse(t, "discover: {tags: {team: shop, 7: ''}}\n")
	if len(c.Databases) != 0 || len(c.Discover) != 1 {
		t.Fatalf("%+v", c)
	}
	d := c.Discover[0]
	if !reflect.DeepEqual(d.Tags, map[string]string{"team": "shop", "7": ""}) || d.Interval != 5*time.Minute || d.IAMUser != "app" || d.ReadSecrets || d.AssumeRole.SessionName != "credproxy" {
		t.Errorf("%+v", d)
	}
	if want := mustParse(t, db()).Databases[0].Limits; d.Each.Limits != want {
		t.Errorf("each has the limits %+v, want %+v", d.Each.Limits, want)
	}
	c = mustParse(t, `
discover:
  - tags:
    each: {listen: ["unix:/x/{name}", "127.0.0.1:0"], access: {replication: true, databases: [a]}, failover: {max_lag: 5s, hold: 0s}, rotation: {events: {sqs_queue_url: https://sqs.eu-west-1.amazonaws.com/123456789012/q}}}
  - {region: eu-west-1, assume_role: {role_arn: "arn:aws:iam::123456789012:role/r"}, interval: 30s, read_secrets: true, prefix: b.}
`)
	if first := c.Discover[0].Each; first.Failover.MaxLag != 5*time.Second || first.Failover.Hold != 0 || len(first.Listen) != 2 {
		t.Errorf("%+v", first)
	}
	if second := c.Discover[1]; second.Interval != 30*time.Second || !second.ReadSecrets || second.Prefix != "b." {
		t.Errorf("%+v", second)
	}
}

func TestDiscoverErrors(t *testing.T) {
	for text, want := range map[string]string{
		"discover: []":                                      "1:1: discover: no database; write at least one entry",
		"discover: x":                                       `1:11: discover: wanted a list, found a string; start each entry with "- "`,
		"discover: {tag: {}}":                               `1:12: discover[0].tag: unknown key; the nearest valid key is "tags"`,
		"discover: {-: true}":                               "1:12: discover[0].-: unknown key",
		"discover: {tags: [a]}":                             "1:18: discover[0].tags: wanted up to 1000 keys with a text each, found a list; write such as {team: shop}",
		"discover: {tags: {a: [b]}}":                        "1:22: discover[0].tags.a: wanted a string, found a list",
		"discover: {tags: {a: b, 'a': c}}":                  "1:25: discover[0].tags.a: this key is there already; remove one of them",
		"discover: {tags: {a: }}":                           "discover[0].tags.a: wanted a string, found nothing",
		"discover: {region: here}":                          "1:20: discover[0].region: not an AWS region",
		"discover: {interval: 29s}":                         "1:22: discover[0].interval: 29s is out of range; write a duration from 30s to 24h0m0s",
		"discover: {interval: 25h}":                         "discover[0].interval: 25h0m0s is out of range",
		"discover: {iam_user: ''}":                          "discover[0].iam_user: missing; write the database user that may log in with a token",
		"discover: {prefix: 'a b'}":                         "discover[0].prefix: not the beginning of a name",
		"discover: {assume_role: {role_arn: x}}":            "discover[0].assume_role.role_arn: not the ARN of an IAM role",
		"discover: [{}, {each: {host: x}}]":                 "1:30: discover[1].each.host: is found; remove it, or write the database under databases",
		"discover: {each: {credentials: {iam: {user: x}}}}": "discover[0].each.credentials: is found; remove it",
		"discover: {each: {role: any}}":                     "discover[0].each.role: is found",
		"discover: {each: {listen: 'unix:/x'}}":             "discover[0].each.listen: one listener for many databases; write a socket with the name in its path, such as unix:/run/credproxy/{name}.sock, or port 0",
		"discover: {each: {listen: [localhost:5432]}}":      "discover[0].each.listen[0]: one listener for many databases",
		"discover: {each: {listen: 'unix:{name}'}}":         "discover[0].each.listen: the path of a unix socket must be absolute",
		"discover: {each: {listen: '10.0.0.1:0'}}":          "is open to other machines; set client_tls.client_ca_file",
		"discover: {each: {failover: {monitor: 1ms}}}":      "discover[0].each.failover.monitor: 1ms is out of range",
		"discover: {each: {limits: {dial_timeout: 0s}}}":    "discover[0].each.limits.dial_timeout: 0s is too short",
		"discover: {each: {tls: {mode: verify-ca}}}":        "discover[0].each.tls.mode: verify-ca without ca_file",
	} {
		_, err := config.Parse("f.yaml", []byte(text+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// TestCheck: what was put together and stands in no file is held to the same rules.
func TestCheck(t *testing.T) {
	found := mustParse(t, "discover: {each: {session: {role: r}}}\n").Discover[0].Each
	found.Name, found.Host, found.Engine = "a", "db.example", config.Postgres
	found.Credentials.IAM = &config.IAM{User: "app", Region: "eu-west-1", AssumeRole: config.AssumeRole{SessionName: "credproxy"}}
	if err := found.Check(); err != nil {
		t.Error(err)
	}
	found.Engine = config.MySQL
	if err := found.Check(); err == nil || err.Error() != "session.role: mysql has no SET ROLE at login; remove it, or use it with engine postgres" {
		t.Error(err)
	}
	found.Name = strings.Repeat("a", 65)
	if err := found.Check(); err == nil || !strings.HasPrefix(err.Error(), "name: not a usable name") {
		t.Error(err)
	}
}
