package deploy_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"testing"
)

const partnerARN = "arn:aws:secretsmanager:eu-west-1:210987654321:secret:shared/partner-AbCdEf"

// usersConfig is what the templates are for: a secret with events, an IAM user, and a
// secret of another account.
const usersConfig = `databases:
  - name: orders
    listen: 127.0.0.1:5432
    credentials: {secrets_manager: {secret_id: "` + secretARN + `"}}
    rotation: {events: {sqs_queue_url: "https://sqs.eu-west-1.amazonaws.com/123456789012/rotations"}}
  - name: reports
    engine: mysql
    host: reports.cluster-abc.eu-west-1.rds.amazonaws.com
    credentials: {iam: {user: app}}
  - name: carts
    listen: 127.0.0.1:5434
    host: abc123def456.dsql.eu-west-1.on.aws
    credentials: {dsql: {user: app}}
  - name: partner
    listen: 127.0.0.1:5433
    credentials: {secrets_manager: {secret_id: "` + partnerARN + `", assume_role: {role_arn: "` + readerARN + `", external_id: shop}}}
`

func ownPolicy(t *testing.T) map[string]any {
	t.Helper()
	return policyOf(t, "-c", "-", "--account", account, "--kms-key", "none,orders="+keyARN, "--resource-id", "cluster-ABC", "--role", "self")
}

func readerPolicy(t *testing.T) map[string]any {
	t.Helper()
	return policyOf(t, "-c", "-", "--account", account, "--kms-key", "none", "--resource-id", "cluster-ABC", "--role", readerARN)
}

// readerTrust is what credproxy policy prints for a role that credproxy assumes.
func readerTrust(t *testing.T) map[string]any {
	t.Helper()
	return policyOf(t, "--trust", "role", "--trusted-role", credproxyARN, "--external-id", "shop")
}

// rotationPolicy is what credproxy policy prints for the rotation function, of one that
// needs as little as can be or as much.
func rotationPolicy(t *testing.T, all bool) map[string]any {
	t.Helper()
	if !all {
		return policyOf(t, "--for", "rotation", "--kms-key", "none", secretARN)
	}
	return policyOf(t, "--for", "rotation", "--get-random-password", "--describe-databases", "--kms-key", keyARN+",rds-cluster-0123="+masterKeyARN, "--master", masterARN, secretARN)
}

// trusts are the flags of credproxy policy that print each platform's trust policy.
func trusts() map[string][]string {
	return map[string][]string{
		"ecs": {"--trust", "ecs", "--account", account, "--region", region},
		"ec2": {"--trust", "ec2", "--account", account, "--region", region},
		"eks": {"--trust", "eks", "--account", account, "--region", region, "--namespace", "shop", "--service-account", "orders"},
	}
}

// policyOf is what credproxy policy prints; "-" stands for the file with usersConfig.
func policyOf(t *testing.T, flags ...string) (document map[string]any) {
	t.Helper()
	args := append([]string{"policy"}, flags...)
	if at := slices.Index(args, "-"); at >= 0 {
		args[at] = filepath.Join(t.TempDir(), "credproxy.yaml")
		write(t, args[at], usersConfig)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &document)
	}
	if err != nil {
		t.Fatalf("credproxy %q: %v\n%s", args, err, stderr.Bytes())
	}
	return document
}

// samePolicy compares all but the names of statements.
func samePolicy(t *testing.T, what string, got, want map[string]any) {
	t.Helper()
	checkPolicy(t, what, got)
	for _, document := range []map[string]any{got, want} {
		for _, statement := range document["Statement"].([]any) {
			delete(statement.(map[string]any), "Sid")
		}
	}
	if !reflect.DeepEqual(got, want) {
		g, _ := json.MarshalIndent(got, "", "  ")
		w, _ := json.MarshalIndent(want, "", "  ")
		t.Errorf("%s: the template allows\n%s\ncredproxy policy prints\n%s", what, g, w)
	}
}

var (
	policyAction   = regexp.MustCompile(`^[a-z0-9-]+:[A-Za-z]+$`)
	policyResource = regexp.MustCompile(`^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:([0-9]{12})?:.+$`)
	policySid      = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	policyOperator = regexp.MustCompile(`^(ForAnyValue:)?(StringEquals|StringLike|ArnEquals|ArnLike)$`)
)

// knowsNoResource reports whether an action can only be allowed on "*", according to the
// service authorization reference.
func knowsNoResource(action string) bool { return action == "secretsmanager:GetRandomPassword" }

// checkPolicy holds a document against IAM's grammar, and against our rule that none
// allows more than named actions on named resources.
func checkPolicy(t *testing.T, at string, document map[string]any) {
	t.Helper()
	statements, _ := document["Statement"].([]any)
	if document["Version"] != "2012-10-17" || len(statements) == 0 || len(document) != 2 {
		t.Errorf("%s: a policy has Version 2012-10-17 and statements: %v", at, document)
	}
	sids := map[string]bool{}
	for _, s := range statements {
		statement := s.(map[string]any)
		sid, _ := statement["Sid"].(string)
		if !policySid.MatchString(sid) || sids[sid] {
			t.Errorf("%s: Sid %q has other than letters and digits, or is there twice", at, sid)
		}
		sids[sid] = true
		for key, value := range statement {
			ok := true
			switch key {
			case "Sid":
			case "Effect":
				ok = value == "Allow"
			case "Action":
				ok = each(value, policyAction.MatchString)
			case "Resource":
				ok = each(value, policyResource.MatchString) || each(value, func(s string) bool { return s == "*" }) && each(statement["Action"], knowsNoResource)
			case "Principal":
				ok = each(value, func(s string) bool { return s != "*" })
			case "Condition":
				for operator, keys := range value.(map[string]any) {
					ok = ok && policyOperator.MatchString(operator) && each(keys, func(s string) bool { return s != "" })
				}
			default:
				ok = false
			}
			if !ok {
				t.Errorf("%s, %s: %s is %v", at, sid, key, value)
			}
		}
		_, resource := statement["Resource"]
		_, principal := statement["Principal"]
		if statement["Effect"] == nil || statement["Action"] == nil || !resource && !principal {
			t.Errorf("%s, %s: lacks Effect, Action, or Resource and Principal", at, sid)
		}
	}
}

// each reports whether all strings of a value, a list or a map's values are good.
func each(value any, good func(string) bool) bool {
	switch v := value.(type) {
	case string:
		return good(v)
	case []any:
		for _, inner := range v {
			if !each(inner, good) {
				return false
			}
		}
		return len(v) > 0
	case map[string]any:
		for _, inner := range v {
			if !each(inner, good) {
				return false
			}
		}
		return len(v) > 0
	}
	return false
}

func mustEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}
