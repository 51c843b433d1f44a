package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const serviceResources = "aws_ecs_service.this aws_ecs_task_definition.this aws_iam_role.execution aws_iam_role_policy_attachment.execution " +
	"aws_security_group.this aws_vpc_security_group_egress_rule.database aws_vpc_security_group_egress_rule.https aws_vpc_security_group_ingress_rule.database"

// application is the container of deploy/ecs beside credproxy's, as a team writes it.
const application = `{"name":"app","image":"ghcr.io/example/orders:v1","environment":[{"name":"DATABASE_URL","value":"postgres://orders@127.0.0.1:5432/orders?sslmode=disable"}],"cpu":192,"memory":320}`

func ofService(more string) string {
	return `{"name":"orders","environment":"prod","cluster_arn":"arn:aws:ecs:eu-west-1:123456789012:cluster/shop","containers":[` + application +
		`],"secret_arns":["` + secretARN + `"],"databases":["prod-orders"],"vpc_id":"vpc-1","subnet_ids":["subnet-1","subnet-2"]` +
		`,"database_networks":{"orders":{"security_group_id":"sg-2","port":5432}}` + more + `}`
}

// TestServiceIsTheTask: module and template register the task of deploy/ecs/task-fargate.json, which is held
// against ECS's own types.
func TestServiceIsTheTask(t *testing.T) {
	var want any
	decode(t, taskFile(t, "task-fargate.json"), &want)
	containers := want.(map[string]any)["containerDefinitions"]

	m := readModule(t, "ecs")
	m.evaluate(t, ofService(``))
	var module any
	decode(t, m.made["aws_ecs_task_definition.this"]["container_definitions"].AsString(), &module)
	mustEqual(t, "containers of the module", module, containers)
	samePolicy(t, "who may be the execution role", policyAt(t, m.made["aws_iam_role.execution"], "assume_role_policy"), policyOf(t, trusts()["ecs"]...))

	stack := readTemplate(t, "ecs").render(t, ofServiceStack())
	text, err := json.Marshal(lower(stack["Task"].Properties["ContainerDefinitions"]))
	if err != nil {
		t.Fatal(err)
	}
	var template any
	decode(t, string(text), &template)
	mustEqual(t, "containers of the template", template, containers)
	samePolicy(t, "who may be the template's execution role", policiesIn(stack["ExecutionRole"].Properties)["AssumeRolePolicyDocument"], policyOf(t, trusts()["ecs"]...))
}

func ofServiceStack(more ...string) map[string]string {
	return with(map[string]string{"Name": "orders", "Environment": "prod", "TaskRoleArn": credproxyARN, "SecretArn": secretARN, "Cluster": "shop",
		"AppImage": "ghcr.io/example/orders:v1", "DatabaseUrl": "postgres://orders@127.0.0.1:5432/orders?sslmode=disable",
		"VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2", "DatabaseSecurityGroupId": "sg-2", "DatabasePort": "5432"}, more)
}

// TestServiceInEmergency: the emergency's secrets are taken in the place of the others, and the
// task's role may read them before, and the others after.
func TestServiceInEmergency(t *testing.T) {
	const other = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-emergency-AbCdEf"
	for emergency, want := range map[string]string{"false": secretARN, "true": other} {
		m := readModule(t, "ecs")
		m.evaluate(t, ofService(`,"emergency_secret_arns":["`+other+`"],"emergency":`+emergency))
		var containers []struct{ Command []string }
		decode(t, m.made["aws_ecs_task_definition.this"]["container_definitions"].AsString(), &containers)
		if !slices.Equal(containers[0].Command, []string{"run", want}) {
			t.Errorf("emergency %s: %v", emergency, containers[0].Command)
		}
		task := readTemplate(t, "ecs").render(t, ofServiceStack("EmergencySecretArn", other, "Emergency", emergency))["Task"].Properties
		command := task["ContainerDefinitions"].([]any)[0].(map[string]any)["Command"]
		mustEqual(t, "command of the template", command, any([]any{"run", want}))
		reads := m.scope.Variables["module"].GetAttr("credproxy").GetAttr("secret_arns").AsValueSlice()
		if len(reads) != 2 || reads[0].AsString() != secretARN || reads[1].AsString() != other {
			t.Errorf("emergency %s: the task may read %v", emergency, reads)
		}
	}
}

// TestLogGroupIsMade: the log group that the task definitions name is the one that
// credproxy's module and template make for this service.
func TestLogGroupIsMade(t *testing.T) {
	var group string
	for _, file := range []string{"task-fargate.json", "task-ec2.json"} {
		var task struct {
			Family               string
			TaskRoleARN          string `json:"taskRoleArn"`
			ContainerDefinitions []struct {
				LogConfiguration struct{ Options map[string]string }
			}
		}
		decode(t, taskFile(t, file), &task)
		mustEqual(t, file+": role", task.TaskRoleARN, credproxyARN)
		for _, c := range task.ContainerDefinitions {
			group = c.LogConfiguration.Options["awslogs-group"]
			stack := readTemplate(t, "credproxy").render(t, map[string]string{"Name": task.Family, "Platform": "ecs", "SecretArns": secretARN})
			mustEqual(t, file+": log group", group, stack["Log"].Properties["LogGroupName"].(string))
		}
	}
	m := readModule(t, "credproxy")
	m.evaluate(t, `{"name":"orders","platform":"ecs","secret_arns":["`+secretARN+`"]}`)
	mustEqual(t, "log group of the module", m.made["aws_cloudwatch_log_group.this"]["name"].AsString(), group)
}

func taskFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", "ecs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lower writes the keys of CloudFormation as ECS has them: the first letter is small.
func lower(value any) any {
	switch v := value.(type) {
	case map[string]any:
		m := map[string]any{}
		for key, inner := range v {
			if !strings.Contains(key, "-") { // a key of options is as it is
				key = string(unicode.ToLower(rune(key[0]))) + key[1:]
			}
			m[key] = lower(inner)
		}
		return m
	case []any:
		list := []any{}
		for _, inner := range v {
			list = append(list, lower(inner))
		}
		return list
	}
	return value
}
