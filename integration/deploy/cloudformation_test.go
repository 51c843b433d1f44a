package deploy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	account      = "123456789012"
	region       = "eu-west-1"
	secretARN    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf"
	keyARN       = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	userARN      = "arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC/app"
	clusterARN   = "arn:aws:dsql:eu-west-1:123456789012:cluster/abc123def456"
	readerARN    = "arn:aws:iam::210987654321:role/credproxy-reader"
	credproxyARN = "arn:aws:iam::123456789012:role/orders-credproxy"
	oidcARN      = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
	topicARN     = "arn:aws:sns:eu-west-1:123456789012:alerts"
	masterARN    = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:rds!cluster-0123-AbCdEf"
	masterKeyARN = "arn:aws:kms:eu-west-1:123456789012:key/99999999-2222-3333-4444-555555555555"
	layerARN     = "arn:aws:lambda:eu-west-1:123456789012:layer:ca:1"
	queueARN     = "arn:aws:sqs:eu-west-1:123456789012:rotations"
)

// TestCloudFormation renders each template with parameters that together take every
// branch, and holds what comes out against the resource types' properties as AWS's
// CloudFormation resource specification 117.0.0 gives them (testdata/cloudformation.json).
func TestCloudFormation(t *testing.T) {
	spec := readSpec(t)
	for _, tt := range []struct {
		template   string
		parameters map[string]string
		want       string // the resources
	}{
		{"account", nil, "Alerts AlertsPolicy DenialsRule"},
		{"account", map[string]string{"ConfigRules": "true"}, "Alerts AlertsPolicy DenialsRule RotationsSucceed SecretsAreUsed SecretsRotate"},
		{"account", map[string]string{"Email": "ops@example.com", "TrailLogGroup": "trail"},
			"Alerts AlertsByEmail AlertsPolicy Denials DenialsAlarm"},
		{"secret", ofSecret(), "Secret"},
		{"secret", ofSecret("AlertTopicArn", topicARN, "TrailLogGroup", "trail"), "Secret"}, // nothing rotates
		{"secret", ofSecret("RotationFunctionArn", "arn:aws:lambda:eu-west-1:123456789012:function:rotate", "AlertTopicArn", topicARN),
			"Rotation RotationTrouble Secret"},
		{"secret", ofSecret("RotationFunctionArn", "arn:aws:lambda:eu-west-1:123456789012:function:rotate", "AlertTopicArn", topicARN,
			"TrailLogGroup", "trail", "KmsKeyArn", keyARN, "SuperuserSecretArn", secretARN),
			"Abandoned AbandonedAlarm Failed FailedAlarm Rotation RotationTrouble Secret"},
		{"ecs", ofServiceStack(), "DatabaseIngress ExecutionRole SecurityGroup Service Task"},
		{"alarms", map[string]string{"Service": "orders", "Environment": "prod", "Database": "orders", "AlertTopicArn": topicARN},
			"BreakGlassActive CredentialOld Dashboard DatabaseNotReady LoginsRejected RotationHangs Saturated SourceBreakerOpen StaleLogins UpstreamDown"},
		{"credproxy", map[string]string{"Name": "orders", "Platform": "ecs", "SecretArns": secretARN}, "Log Role Rotations RotationsPolicy RotationsRule"},
		{"credproxy", map[string]string{"Name": "orders", "Platform": "ec2", "DatabaseUserArns": userARN}, "InstanceProfile Log Role"},
		{"credproxy", map[string]string{"Name": "orders", "Platform": "eks", "Namespace": "shop", "ServiceAccount": "orders", "ReaderRoleArn": readerARN}, "Log Role"},
		{"credproxy", map[string]string{"Name": "orders", "Platform": "eks", "ClusterName": "prod", "Namespace": "shop", "ServiceAccount": "orders", "DatabaseUserArns": userARN}, "Association Log Role"},
		{"credproxy", map[string]string{"Name": "orders", "Platform": "ecs", "ReaderRoleArn": readerARN, "ReaderSecretArn": partnerARN}, "Log Role Rotations RotationsPolicy"},
		{"rotation", ofFunction(), "ErrorsAlarm Function Log LongAlarm MayCheck MayRotate Role Rotated"},
		{"rotation", allOfFunction(), "ErrorsAlarm Function Log LongAlarm MayCheck MayCheckOnSchedule MayRotate Role Rotated Schedule"},
		{"rotation-aws", ofFunctionOfAWS(), "Rotation"},
		{"rotation-aws", ofFunctionOfAWS("KmsKeyArn", keyARN, "MasterSecretArn", masterARN, "MasterKmsKeyArn", masterKeyARN), "Rotation"},
		{"reader", map[string]string{"TrustedRoleArn": credproxyARN, "ExternalId": "shop", "SecretArn": secretARN, "KmsKeyArn": keyARN}, "Role"},
		{"reader", map[string]string{"TrustedRoleArn": credproxyARN, "ExternalId": "shop", "SecretArn": partnerARN, "RotationQueueArn": queueARN}, "EventsRole Role RotationsRule"},
	} {
		t.Run(tt.template, func(t *testing.T) {
			stack := readTemplate(t, tt.template).render(t, tt.parameters)
			if got := strings.Join(slices.Sorted(maps.Keys(stack)), " "); got != tt.want {
				t.Errorf("%v makes %s, want %s", tt.parameters, got, tt.want)
			}
			for name, r := range stack {
				spec.check(t, name, r.Type, r.Properties)
				for place, document := range policiesIn(r.Properties) {
					checkPolicy(t, name+"."+place, document)
				}
			}
		})
	}
}

// TestCloudFormationRefuses gives parameters that the templates' rules forbid.
func TestCloudFormationRefuses(t *testing.T) {
	for template, parameters := range map[string]map[string]string{
		"credproxy": {"Name": "orders", "Platform": "eks", "Namespace": "shop", "SecretArns": secretARN},
		"ecs":       ofServiceStack("Emergency", "true"),
		"reader":    {"TrustedRoleArn": readerARN, "ExternalId": "shop"},
		"rotation":  ofFunction("CaLayerArn", layerARN),
	} {
		if broken := readTemplate(t, template).broken(t, parameters); broken == "" {
			t.Errorf("%s takes %v", template, parameters)
		}
	}
	if broken := readTemplate(t, "credproxy").broken(t, map[string]string{"Name": "orders", "Platform": "ecs"}); !strings.Contains(broken, "SecretArn") {
		t.Errorf("a role without a policy: %q", broken)
	}
}

// ofFunction are the parameters of a rotation function.
func ofFunction(more ...string) map[string]string {
	return with(map[string]string{"FunctionName": "rotate-orders", "SecretArn": secretARN, "CodeBucket": "code", "CodeKey": "rotation.zip",
		"SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}, more)
}

// allOfFunction are those of one that uses all there is.
func allOfFunction() map[string]string {
	return ofFunction("KmsKeyArn", keyARN, "MasterSecretArn", masterARN, "MasterKmsKeyArn", masterKeyARN, "DescribeDatabases", "true", "CodeVersion", "1",
		"ReservedConcurrency", "1", "CheckSchedule", "rate(5 minutes)", "AlertTopicArn", topicARN, "Strategy", "alternating", "OwnerRole", "orders_owner",
		"DiscardAfter", "1h", "PasswordSource", "secretsmanager", "PasswordLength", "40", "ExcludeCharacters", "/", "TlsServerName", "orders.example.com",
		"TlsCaFile", "/opt/ca.pem", "CaLayerArn", layerARN, "CheckWriteTable", "checks", "SecretsManagerEndpoint", "https://vpce.example.com")
}

func ofFunctionOfAWS(more ...string) map[string]string {
	return with(map[string]string{"FunctionName": "rotate-orders", "ApplicationVersion": "1.1.670", "SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}, more)
}

func ofSecret(more ...string) map[string]string {
	p := map[string]string{"Name": "prod/orders", "Engine": "postgres", "Host": "orders.abc.eu-west-1.rds.amazonaws.com", "Port": "5432", "Database": "orders", "Username": "app"}
	return with(p, more)
}

// with adds names and values to p.
func with(p map[string]string, more []string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	return p
}

// resourceSpec has the properties and attributes of a type, and the properties of
// its parts as TYPE.PART. A kind ends in "!" where the property is required.
type resourceSpec map[string]struct {
	Properties map[string]string
	Attributes []string
}

func readSpec(t *testing.T) (spec resourceSpec) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "cloudformation.json"))
	if err == nil {
		err = json.Unmarshal(text, &spec)
	}
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// check holds properties against those of a type or part.
func (s resourceSpec) check(t *testing.T, at, kind string, properties map[string]any) {
	t.Helper()
	known, ok := s[kind]
	if !ok {
		t.Errorf("%s: unknown type %s", at, kind)
		return
	}
	for name, property := range known.Properties {
		if _, written := properties[name]; !written && strings.HasSuffix(property, "!") {
			t.Errorf("%s: %s needs %s", at, kind, name)
		}
	}
	for name, value := range properties {
		property, ok := known.Properties[name]
		if !ok {
			t.Errorf("%s: %s has no property %s", at, kind, name)
			continue
		}
		s.checkValue(t, at+"."+name, kind, strings.TrimSuffix(property, "!"), value)
	}
}

func (s resourceSpec) checkValue(t *testing.T, at, kind, property string, value any) {
	t.Helper()
	if item, isList := strings.CutPrefix(property, "["); isList {
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			t.Errorf("%s: %v is no list with something in it", at, value)
		}
		for i, v := range list {
			s.checkValue(t, fmt.Sprintf("%s[%d]", at, i), kind, strings.TrimSuffix(item, "]"), v)
		}
		return
	}
	if entry, isMap := strings.CutPrefix(property, "{"); isMap {
		values, ok := value.(map[string]any)
		if !ok {
			t.Errorf("%s: %v is no map", at, value)
		}
		for key, v := range values {
			s.checkValue(t, at+"."+key, kind, strings.TrimSuffix(entry, "}"), v)
		}
		return
	}
	ok := false
	text := fmt.Sprint(value)
	switch property {
	case "String":
		_, ok = value.(string)
		ok = ok && text != ""
	case "Integer", "Double":
		ok = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`).MatchString(text)
	case "Boolean":
		ok = text == "true" || text == "false"
	case "Json":
		_, ok = value.(map[string]any)
	default:
		kind, _, _ = strings.Cut(kind, ".")
		var part map[string]any
		if part, ok = value.(map[string]any); ok {
			s.check(t, at, kind+"."+property, part)
		}
	}
	if !ok {
		t.Errorf("%s: %#v is no %s", at, value, property)
	}
}

// policiesIn finds the policy documents of a resource.
func policiesIn(properties map[string]any) map[string]map[string]any {
	found := map[string]map[string]any{}
	for name, value := range properties {
		if document, ok := value.(map[string]any); ok && strings.HasSuffix(name, "PolicyDocument") {
			found[name] = document
		}
		if list, ok := value.([]any); ok && name == "Policies" {
			for _, policy := range list {
				maps.Copy(found, policiesIn(policy.(map[string]any)))
			}
		}
	}
	return found
}

// TestCloudFormationPolicies holds the roles against what credproxy policy prints for
// the configuration that they are for.
func TestCloudFormationPolicies(t *testing.T) {
	all := map[string]string{"Name": "orders", "SecretArns": secretARN, "KmsKeyArns": keyARN, "DatabaseUserArns": userARN, "DsqlClusterArns": clusterARN, "ReaderRoleArn": readerARN}
	for platform, flags := range trusts() {
		all["Platform"] = platform
		all["Namespace"], all["ServiceAccount"] = "shop", "orders"
		role := readTemplate(t, "credproxy").render(t, all)["Role"].Properties
		samePolicy(t, platform, policiesIn(role)["AssumeRolePolicyDocument"], policyOf(t, flags...))
		samePolicy(t, platform, policiesIn(role)["PolicyDocument"], ownPolicy(t))
	}
	reader := readTemplate(t, "reader").render(t, map[string]string{
		"TrustedRoleArn": credproxyARN, "ExternalId": "shop", "SecretArn": partnerARN})["Role"].Properties
	samePolicy(t, "reader", policiesIn(reader)["PolicyDocument"], readerPolicy(t))
	for _, parameters := range []map[string]string{ofFunction(), allOfFunction()} {
		role := readTemplate(t, "rotation").render(t, parameters)["Role"].Properties
		samePolicy(t, "who may be the function", policiesIn(role)["AssumeRolePolicyDocument"], policyOf(t, "--trust", "lambda"))
		samePolicy(t, "rotation", policiesIn(role)["PolicyDocument"], rotationPolicy(t, parameters["MasterSecretArn"] != ""))
	}
	samePolicy(t, "reader's trust", policiesIn(reader)["AssumeRolePolicyDocument"], readerTrust(t))
}
