package deploy_test

import (
	"strings"
	"testing"
)

// TestCrossAccountOrder: each account can name what the other makes before it is there. IAM
// refuses a principal that does not exist, so credproxy's role comes first, and names the
// reader's by its ARN; both have fixed names. The queue's policy names an account, which always exists.
func TestCrossAccountOrder(t *testing.T) {
	const ours, theirs = "orders-credproxy", "credproxy-reader"
	if !strings.HasSuffix(credproxyARN, "/"+ours) || !strings.HasSuffix(readerARN, "/"+theirs) {
		t.Fatal("the ARNs of the tests are other roles'")
	}
	wantQueue := map[string]any{"AWS": "210987654321"}
	wantSender := map[string]any{"ArnEquals": map[string]any{"aws:PrincipalArn": readerARN + "-events"}}
	checkQueue := func(what string, policy map[string]any) {
		for _, s := range policy["Statement"].([]any) {
			statement := s.(map[string]any)
			if statement["Sid"] == "TheRuleOfTheReader" {
				mustEqual(t, what+": who may send", statement["Principal"], wantQueue)
				mustEqual(t, what+": on condition", statement["Condition"], wantSender)
				return
			}
		}
		t.Errorf("%s: the reader's rule may not send: %v", what, policy)
	}

	stack := readTemplate(t, "credproxy").render(t, map[string]string{"Name": "orders", "Platform": "ecs", "SecretArns": secretARN, "ReaderRoleArn": readerARN, "ReaderSecretArn": partnerARN})
	mustEqual(t, "name of credproxy's role", stack["Role"].Properties["RoleName"], any(ours))
	checkQueue("template", policiesIn(stack["RotationsPolicy"].Properties)["PolicyDocument"])
	reader := readTemplate(t, "reader").render(t, map[string]string{"TrustedRoleArn": credproxyARN, "ExternalId": "shop", "SecretArn": partnerARN, "RotationQueueArn": queueARN})
	mustEqual(t, "name of the reader's role", reader["Role"].Properties["RoleName"], any(theirs))
	mustEqual(t, "name of the events' role", reader["EventsRole"].Properties["RoleName"], any(theirs+"-events"))
	target := reader["RotationsRule"].Properties["Targets"].([]any)[0].(map[string]any)
	if target["RoleArn"] == nil || target["Arn"] != queueARN {
		t.Errorf("a target in another account needs a role: %v", target)
	}

	m := readModule(t, "credproxy")
	m.evaluate(t, `{"name":"orders","platform":"ecs","secret_arns":["`+secretARN+`"],"reader_role_arn":"`+readerARN+`","reader_secret_arn":"`+partnerARN+`"}`)
	mustEqual(t, "name of credproxy's role", m.made["aws_iam_role.this"]["name"].AsString(), ours)
	checkQueue("module", policyAt(t, m.made["aws_sqs_queue_policy.rotations"], "policy"))
	m = readModule(t, "reader")
	m.evaluate(t, `{"trusted_role_arn":"`+credproxyARN+`","external_id":"shop","secret_arn":"`+partnerARN+`","rotation_queue_arn":"`+queueARN+`"}`)
	mustEqual(t, "name of the reader's role", m.made["aws_iam_role.this"]["name"].AsString(), theirs)
	mustEqual(t, "name of the events' role", m.made["aws_iam_role.events"]["name"].AsString(), theirs+"-events")
	if _, has := m.made["aws_cloudwatch_event_target.rotations"]["role_arn"]; !has {
		t.Error("a target in another account needs a role")
	}
}
