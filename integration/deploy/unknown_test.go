package deploy_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// TestTerraformUnknown: what is made in the same run, and so is not known when Terraform plans,
// decides of no resource whether there is one: Terraform refuses such a plan. Where it must, another variable decides.
func TestTerraformUnknown(t *testing.T) {
	text, list := cty.UnknownVal(cty.String), cty.TupleVal([]cty.Value{cty.UnknownVal(cty.String)})
	for _, tt := range []struct {
		module, variables string
		unknown           map[string]cty.Value
		undecided         string // a resource of which it is not known whether there is one
	}{
		{"secret", ofModule(``), map[string]cty.Value{"rotation_function_arn": text}, "aws_secretsmanager_secret_rotation.this"},
		{"secret", ofModule(`,"rotates":true`), map[string]cty.Value{"rotation_function_arn": text, "alert_topic_arns": list, "kms_key_arn": text}, ""},
		{"first-version", ofFirstVersion(``), map[string]cty.Value{"secret_id": text, "host": text, "superuser_secret_arn": text}, ""},
		{"credproxy", `{"name":"orders","platform":"ecs"}`, map[string]cty.Value{"secret_arns": list, "kms_key_arns": list, "database_user_arns": list}, ""},
		{"rotation", functionModule(`,"zip_file":"rotation.zip"`), map[string]cty.Value{"secret_arn": text, "kms_key_arn": text, "master_secret_arn": text, "security_group_ids": list, "alert_topic_arns": list}, ""},
		{"alarms", `{"service":"orders","environment":"prod","databases":["orders"]}`, map[string]cty.Value{"alert_topic_arns": list}, ""},
		{"ecs", ofService(``), map[string]cty.Value{
			"secret_arns": list, "kms_key_arns": list, "alert_topic_arns": list, "cluster_arn": text, "vpc_id": text, "subnet_ids": list, "security_group_ids": list,
			"database_networks": object(map[string]cty.Value{"orders": object(map[string]cty.Value{"security_group_id": text, "port": cty.NumberIntVal(5432)})}),
		}, ""},
	} {
		m := readModule(t, tt.module)
		m.evaluateWith(t, withUnknown(t, tt.variables, tt.unknown))
		if got := slices.Contains(m.unknown, tt.undecided); len(m.unknown) > 0 && tt.undecided == "" || tt.undecided != "" && !got {
			t.Errorf("%s: whether there is %v is not known, want %q", tt.module, m.unknown, tt.undecided)
		}
	}
}

// withUnknown are variables in JSON, some of them in the place of which unknown values stand.
func withUnknown(t *testing.T, variables string, unknown map[string]cty.Value) map[string]cty.Value {
	t.Helper()
	var parts map[string]json.RawMessage
	decode(t, variables, &parts)
	for name := range unknown {
		delete(parts, name)
	}
	rest, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	values := valuesOf(t, string(rest))
	for name, value := range unknown {
		values[name] = value
	}
	return values
}
