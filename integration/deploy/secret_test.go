package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

// TestFirstVersion: a secret's first value is the JSON that credproxy and the rotation functions
// read, and has AWS's functions insist on TLS.
func TestFirstVersion(t *testing.T) {
	for _, superuser := range []string{"", masterARN} {
		stack := readTemplate(t, "secret").render(t, ofSecret("SuperuserSecretArn", superuser))
		generated := stack["Secret"].Properties["GenerateSecretString"].(map[string]any)
		var template, module map[string]any
		decode(t, generated["SecretStringTemplate"].(string), &template)
		m := readModule(t, "first-version")
		m.evaluate(t, ofFirstVersion(`,"superuser_secret_arn":"`+superuser+`"`))
		decode(t, m.made["aws_secretsmanager_secret_version.first"]["secret_string_wo"].AsString(), &module)
		delete(module, generated["GenerateStringKey"].(string))
		want := map[string]any{"engine": "postgres", "host": "orders.abc.eu-west-1.rds.amazonaws.com", "port": 5432.0, "dbname": "orders", "username": "app", "ssl": true}
		if superuser != "" {
			want["masterarn"] = superuser
		}
		mustEqual(t, "template", template, want)
		mustEqual(t, "module", module, want)
	}
}

func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// TestValueIsWrittenOnce: nothing that stays in a state or a stack writes the secret's value
// again. The provider takes a version that Secrets Manager has deleted for missing, and would
// write a new password: so the module that stays has no version. CloudFormation writes a new
// password when the template of the value changes: so the stack's policy denies each update of the secret.
func TestValueIsWrittenOnce(t *testing.T) {
	for _, b := range readModule(t, "secret").blocks {
		if b.Type == "resource" && b.Labels[0] == "aws_secretsmanager_secret_version" || b.Type == "ephemeral" {
			t.Errorf("module secret has %s %v", b.Type, b.Labels)
		}
	}
	for versions, refuses := range map[int]bool{-1: false, 0: false, 1: true} {
		m := readModule(t, "first-version")
		switch {
		case versions < 0: // as the provider may list none
			m.versions = cty.NullVal(cty.List(cty.String))
		case versions > 0:
			m.versions = cty.TupleVal([]cty.Value{cty.StringVal("the first")})
		}
		m.evaluate(t, ofFirstVersion(``))
		if m.refused() != refuses {
			t.Errorf("module first-version, where the secret has %d versions: %v", versions, m.conditions)
		}
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy", "cloudformation", "secret-stack-policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	var policy struct {
		Statement []struct{ Effect, Action, Principal, Resource string }
	}
	decode(t, string(text), &policy)
	denied := ""
	for _, s := range policy.Statement {
		if s.Effect == "Deny" && s.Action == "Update:*" && s.Principal == "*" {
			denied, _ = strings.CutPrefix(s.Resource, "LogicalResourceId/")
		}
	}
	resource, _ := readTemplate(t, "secret").section("Resources")[denied].(map[string]any)
	if resource["Type"] != "AWS::SecretsManager::Secret" {
		t.Errorf("the stack's policy denies updates of %q, which is no secret", denied)
	}
}

// troubles are the events of a rotation that somebody must hear of. Where a schedule is set
// without rotating at once, Secrets Manager tries the function, and says TestRotationFailed.
var troubles = []string{"RotationAbandoned", "RotationFailed", "TestRotationFailed"}

func TestTroubleIsTold(t *testing.T) {
	const function = "arn:aws:lambda:eu-west-1:123456789012:function:rotate"
	stack := readTemplate(t, "secret").render(t, ofSecret("RotationFunctionArn", function, "AlertTopicArn", topicARN, "TrailLogGroup", "trail"))
	checkTroubles(t, "template", stack["RotationTrouble"].Properties["EventPattern"].(map[string]any),
		stack["Failed"].Properties["FilterPattern"].(string)+stack["Abandoned"].Properties["FilterPattern"].(string))

	m := readModule(t, "secret")
	m.evaluate(t, ofModule(`,"rotation_function_arn":"`+function+`","alert_topic_arns":["`+topicARN+`"],"trail_log_group":"trail"`))
	filters := ""
	for _, made := range m.each["aws_cloudwatch_log_metric_filter.trouble"] {
		filters += made["pattern"].AsString()
	}
	checkTroubles(t, "module", policyAt(t, m.made["aws_cloudwatch_event_rule.trouble"], "event_pattern"), filters)
}

func checkTroubles(t *testing.T, what string, pattern map[string]any, filters string) {
	t.Helper()
	var names []string
	for _, name := range pattern["detail"].(map[string]any)["eventName"].([]any) {
		names = append(names, name.(string))
	}
	slices.Sort(names)
	mustEqual(t, what+": events of the rule", names, troubles)
	for _, name := range troubles {
		if !strings.Contains(filters, `($.eventName = "`+name+`")`) {
			t.Errorf("%s: no metric filter counts %s: %s", what, name, filters)
		}
	}
}

// TestDenialsAreTold: calls that only read reach a rule in this state alone.
func TestDenialsAreTold(t *testing.T) {
	const state = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
	rule := readTemplate(t, "account").render(t, nil)["DenialsRule"].Properties
	mustEqual(t, "template", rule["State"], any(state))
	m := readModule(t, "account")
	m.evaluate(t, `{}`)
	made := m.made["aws_cloudwatch_event_rule.denials"]
	mustEqual(t, "module", made["state"].AsString(), state)
	mustEqual(t, "pattern", policyAt(t, made, "event_pattern"), rule["EventPattern"].(map[string]any))
}
