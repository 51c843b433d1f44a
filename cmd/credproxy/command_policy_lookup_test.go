package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startAWS answers like the APIs that a look-up asks, and points the SDK at
// itself. What it does not know is an error of AWS.
func startAWS(t *testing.T, answers map[string]string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, op, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
			var in struct{ SecretId string }
			_ = json.Unmarshal(body, &in)
			answer, known := answers[op+" "+in.SecretId]
			if !known {
				w.WriteHeader(http.StatusBadRequest)
				answer = `{"__type":"AccessDeniedException","Message":"no policy allows it"}`
			}
			_, _ = io.WriteString(w, answer)
			return
		}
		form, _ := url.ParseQuery(string(body))
		op, name := form.Get("Action"), ""
		for key := range form {
			if strings.HasPrefix(key, "DB") {
				name = form.Get(key)
			}
		}
		answer, known := answers[strings.TrimSpace(op+" "+name)]
		if !known {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>no policy allows it</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", op, answer)
	}))
	t.Cleanup(server.Close)
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "key-of-the-test",
		"AWS_REGION": "eu-west-1", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

var lookUpAnswers = map[string]string{
	"GetCallerIdentity":                   `<Account>123456789012</Account>`,
	"DescribeSecret prod/orders":          `{"ARN":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf","KmsKeyId":"arn:aws:kms:eu-west-1:123456789012:key/1111","RotationLambdaARN":"arn:aws:lambda:eu-west-1:123456789012:function:rotate"}`,
	"DescribeSecret prod/plain":           `{"ARN":"arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/plain-AbCdEf"}`,
	"DescribeDBInstances single":          `<DBInstances><DBInstance><DBInstanceArn>arn:aws:rds:eu-west-1:123456789012:db:single</DBInstanceArn><DbiResourceId>db-SINGLE</DbiResourceId></DBInstance></DBInstances>`,
	"DescribeDBInstances member":          `<DBInstances><DBInstance><DBClusterIdentifier>shop</DBClusterIdentifier><DbiResourceId>db-MEMBER</DbiResourceId></DBInstance></DBInstances>`,
	"DescribeDBClusters shop":             `<DBClusters><DBCluster><DBClusterArn>arn:aws:rds:eu-west-1:123456789012:cluster:shop</DBClusterArn><DbClusterResourceId>cluster-SHOP</DbClusterResourceId></DBCluster></DBClusters>`,
	"DescribeDBClusterEndpoints analysts": `<DBClusterEndpoints><DBClusterEndpointList><DBClusterIdentifier>shop</DBClusterIdentifier></DBClusterEndpointList></DBClusterEndpoints>`,
	"DescribeDBProxies pool":              `<DBProxies><member><DBProxyArn>arn:aws:rds:eu-west-1:123456789012:db-proxy:prx-0123abcd</DBProxyArn></member></DBProxies>`,
	"DescribeDBProxyEndpoints readers":    `<DBProxyEndpoints><member><DBProxyName>pool</DBProxyName></member></DBProxyEndpoints>`,
}

func TestLookUp(t *testing.T) {
	iam := func(host string) string {
		return "databases: [{name: db, engine: postgres, host: " + host + ", credentials: {iam: {user: app, region: eu-west-1}}}]"
	}
	secret := func(name string) string {
		return "databases: [{name: db, credentials: {secrets_manager: {secret_id: " + name + "}}}]"
	}
	const connect = "arn:aws:rds-db:eu-west-1:123456789012:dbuser:"
	for _, tt := range []struct {
		name, yaml string
		code       int
		prints     []string
		says       string
	}{
		{"instance", iam("single.abc123.eu-west-1.rds.amazonaws.com"), 0, []string{connect + "db-SINGLE/app"}, ""},
		{"instance of a cluster", iam("member.abc123.eu-west-1.rds.amazonaws.com"), 0, []string{connect + "cluster-SHOP/app"}, ""},
		{"cluster", iam("shop.cluster-abc123.eu-west-1.rds.amazonaws.com"), 0, []string{connect + "cluster-SHOP/app"}, ""},
		{"readers of a cluster", iam("shop.cluster-ro-abc123.eu-west-1.rds.amazonaws.com"), 0, []string{connect + "cluster-SHOP/app"}, ""},
		{"custom endpoint", iam("analysts.cluster-custom-abc123.eu-west-1.rds.amazonaws.com"), 0, []string{connect + "cluster-SHOP/app"}, ""},
		{"proxy", iam("pool.proxy-abc123.eu-west-1.rds.amazonaws.com"), 0, []string{connect + "prx-0123abcd/app"}, ""},
		{"proxy endpoint", iam("readers.endpoint.proxy-abc123.eu-west-1.rds.amazonaws.com"), 0, []string{connect + "prx-0123abcd/app"}, ""},
		{"another name", iam("db.internal"), 1, []string{connect + "RESOURCE_ID/app"}, "db.internal is no host name of RDS"},
		{"not allowed", iam("other.abc123.eu-west-1.rds.amazonaws.com"), 1, []string{connect + "RESOURCE_ID/app"}, "describe instance other"},
		{"secret and key", secret("prod/orders"), 0, []string{"secret:prod/orders-AbCdEf", "arn:aws:kms:eu-west-1:123456789012:key/1111"}, ""},
		{"secret under the key of AWS", secret("prod/plain"), 0, []string{"secret:prod/plain-AbCdEf"}, ""},
		{"secret, not allowed", secret("prod/other"), 1, []string{"arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/other-??????"}, "describe secret prod/other"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			startAWS(t, lookUpAnswers)
			file := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(file, []byte(tt.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := call(t, "policy", "--lookup", "-c", file)
			if code != tt.code || !strings.Contains(stderr, tt.says) || tt.says == "" && stderr != "" {
				t.Errorf("status %d, want %d with %q:\n%s", code, tt.code, tt.says, stderr)
			}
			for _, s := range tt.prints {
				if !strings.Contains(stdout, s+`"`) {
					t.Errorf("does not print %s:\n%s", s, stdout)
				}
			}
			if strings.Contains(stdout, "kms:Decrypt") != (tt.name == "secret and key") {
				t.Errorf("the key is wrong:\n%s", stdout)
			}
		})
	}
}

// TestLookUpRotation: keys and the rotation function are asked for, of the master's secret, too.
func TestLookUpRotation(t *testing.T) {
	const secrets = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/"
	startAWS(t, map[string]string{
		"GetCallerIdentity":                    lookUpAnswers["GetCallerIdentity"],
		"DescribeSecret " + secrets + "orders": lookUpAnswers["DescribeSecret prod/orders"],
		"DescribeSecret " + secrets + "plain":  lookUpAnswers["DescribeSecret prod/plain"],
	})
	code, stdout, stderr := call(t, "policy", "--for", "rotate", "--lookup", "--master", secrets+"plain", secrets+"orders")
	if code != 0 || stderr != "" {
		t.Errorf("%d %s", code, stderr)
	}
	golden(t, filepath.Join("testdata", "policy", "rotate-lookup.json"), stdout)
}
