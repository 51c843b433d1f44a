package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the files that tests compare with")

// golden compares got with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is stale (go test ./cmd/credproxy -update writes it); now it is\n%s", path, got)
	}
}

func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestPolicy(t *testing.T) {
	const (
		all     = "-c testdata/policy/all.yaml --account 123456789012 "
		arn     = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf"
		master  = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/admin-AbCdEf"
		managed = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!cluster-0123-AbCdEf"
		china   = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:prod/orders"
		key     = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	)
	for _, tt := range []struct {
		golden, args string // golden "": nothing printed
		code         int
		says         []string // on standard error
	}{
		{"secret", arn, 0, []string{"whether its secret is encrypted with a key of your own is not known"}},
		{"secret", "--kms-key none " + arn, 0, nil},
		{"key", "--kms-key " + key + " " + arn, 0, nil},
		{"key", "--kms-key 11111111-2222-3333-4444-555555555555 " + arn, 0, nil},
		{"alias", "--kms-key alias/secrets " + arn, 0, nil},
		{"all", all + "--kms-key none --kms-key orders=" + key + " --resource-id reports=cluster-ABC --resource-id audit=prx-0123abcd", 0, nil},
		{"all", all + "--kms-key orders=" + key + ",none --resource-id audit=prx-0123abcd,cluster-ABC", 0, nil},
		{"self", all + "--role self --kms-key none --resource-id reports=cluster-ABC --resource-id audit=prx-0123abcd", 0, nil},
		{"role", all + "--role arn:aws:iam::210987654321:role/reader --kms-key none --resource-id cluster-ABC", 0, nil},
		{"placeholders", "-c testdata/policy/all.yaml --kms-key none", 1, []string{"the policy is not whole: replace ACCOUNT_ID, RESOURCE_ID"}},
		{"china", "-c testdata/policy/china.yaml --account 123456789012 --kms-key alias/secrets --resource-id db-ABC", 0, nil},
		{"govcloud", "-c testdata/policy/govcloud.yaml --kms-key mrk-0123", 0, nil},
		{"dsql", "-c testdata/policy/dsql.yaml --account 123456789012", 0, []string{`database carts: in the cluster, admin must also run AWS IAM GRANT "app" TO`}},
		{"dsql-placeholders", "-c testdata/policy/dsql.yaml", 1, []string{"replace ACCOUNT_ID"}},
		{"", "-c testdata/policy/none.yaml", 0, []string{"needs no permission of AWS"}},
		{"", all + "--role arn:aws:iam::210987654321:role/writer", 2, []string{`write one of: arn:aws:iam::210987654321:role/reader, self`}},
		{"", "--account 1234 " + arn, 2, []string{"12 digits"}},
		{"", "--region Ireland " + arn, 2, []string{"such as eu-west-1"}},
		{"", "--kms-key sales=none " + arn, 2, []string{`no database "sales" in this configuration; write one of: prod-orders`}},
		{"", "--resource-id mydb " + arn, 2, []string{"not a resource id"}},
		{"", "", 2, []string{"no configuration"}},
		{"", "-c testdata/policy/all.yaml " + arn, 2, []string{"not both"}},
		{"", "--namespace shop " + arn, 2, []string{"--trust eks"}},
		{"trust-ecs", "--trust ecs --account 123456789012 --region eu-west-1", 0, nil},
		{"trust-ecs-any", "--trust ecs", 0, nil},
		{"trust-ec2", "--trust ec2", 0, nil},
		{"trust-ec2-china", "--trust ec2 --region cn-north-1", 0, nil},
		{"trust-lambda", "--trust lambda", 0, nil},
		{"trust-eks", "--trust eks", 0, nil},
		{"trust-eks-pod", "--trust eks --namespace shop --service-account orders --account 123456789012", 0, nil},
		{"trust-eks-irsa", "--trust eks --namespace shop --service-account orders --account 123456789012 --oidc-provider https://oidc.eks.eu-west-1.amazonaws.com/id/ABC", 0, nil},
		{"trust-eks-irsa", "--trust eks --namespace shop --service-account orders --oidc-provider arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/ABC", 0, nil},
		{"", "--trust eks --oidc-provider oidc.example", 2, []string{"whose provider"}},
		{"", "--trust eks --account 123456789012 --oidc-provider oidc.example", 2, []string{"every pod of the cluster"}},
		{"", "--trust eks --oidc-provider arn:aws:iam::123456789012:role/x --namespace a --service-account b", 2, []string{"neither the cluster's issuer"}},
		{"rotation", "--for rotation --kms-key none " + arn, 0, []string{"AWSLambdaVPCAccessExecutionRole"}},
		{"rotation-key", "--for rotation --get-random-password --describe-databases --kms-key " + key + " " + arn, 0, []string{"AWSLambdaVPCAccessExecutionRole"}},
		{"rotation-master", "--for rotation --kms-key none,prod-orders=alias/secrets --master " + master + " " + arn, 0, []string{"--trust lambda"}},
		{"rotation-master-of-rds", "--for rotation --kms-key none --master " + managed + " --master " + master + " " + arn + " " + china, 0, []string{"--trust lambda"}},
		{"rotate", "--for rotate --kms-key none " + arn, 0, []string{"lambda:InvokeFunction"}},
		{"", "--for rotation --master " + master, 2, []string{"takes the ARNs of secrets"}},
		{"", "--for rotation -c testdata/policy/all.yaml", 2, []string{"takes the ARNs of secrets"}},
		{"", "--for rotation --trust lambda " + arn, 2, []string{"give one of them"}},
		{"", "--for rotations " + arn, 2, []string{"write run, rotation or rotate"}},
		{"", "--get-random-password " + arn, 2, []string{"--for rotation"}},
		{"", "--trust ecs --namespace shop", 2, []string{"for --trust eks"}},
		{"", "--trust fargate", 2, []string{"write ecs, eks, ec2, lambda or role"}},
		{"trust-role", "--trust role --trusted-role arn:aws:iam::123456789012:role/orders --external-id shop-7d1c", 0, nil},
		{"", "--trust role --trusted-role arn:aws:iam::123456789012:role/orders", 2, []string{"needs --external-id"}},
		{"", "--trust role --external-id shop-7d1c", 2, []string{"needs --trusted-role"}},
		{"", "--trust role --trusted-role arn:aws:iam::123456789012:user/orders --external-id shop", 2, []string{"role/NAME"}},
		{"", "--trust ecs --external-id shop", 2, []string{"for --trust role"}},
		{"", "--external-id shop " + arn, 2, []string{"for --trust role"}},
	} {
		t.Run(tt.golden+" "+tt.args, func(t *testing.T) {
			code, stdout, stderr := call(t, append([]string{"policy"}, strings.Fields(tt.args)...)...)
			if code != tt.code {
				t.Errorf("status %d, want %d", code, tt.code)
			}
			for _, s := range tt.says {
				if !strings.Contains(stderr, s) {
					t.Errorf("does not say %q:\n%s", s, stderr)
				}
			}
			if tt.says == nil && stderr != "" {
				t.Errorf("says %s", stderr)
			}
			if tt.golden == "" {
				if stdout != "" {
					t.Errorf("prints %s", stdout)
				}
				return
			}
			golden(t, filepath.Join("testdata", "policy", tt.golden+".json"), stdout)
		})
	}
}
