package awsstub_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func TestEndpointCredentials(t *testing.T) {
	tests := []struct {
		name, role string
		env        func(*awsstub.Server) []string
		op         string
	}{
		{"container", awsstub.TaskRole, (*awsstub.Server).ContainerEnv, awsstub.OpContainerCredentials},
		{"instance", awsstub.InstanceRole, (*awsstub.Server).InstanceEnv, awsstub.OpIMDSCredentials},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, awsstub.Options{Secrets: map[string]string{"a": "value"}})
			s.AddRole(awsstub.Role{ARN: tt.role, Lifetime: 20 * time.Minute})
			cfg := sdk(t, tt.env(s))
			if _, err := get(t.Context(), sm.NewFromConfig(cfg), "a"); err != nil {
				t.Fatal(err)
			}
			creds, err := cfg.Credentials.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// The SDK counts credentials as expired some minutes before they are.
			if left := time.Until(creds.Expires); left > 20*time.Minute || left < 10*time.Minute {
				t.Errorf("expires in %s, want at most 20m", left)
			}
			if n := s.Calls(tt.op); n != 1 {
				t.Errorf("%d calls of %s, want 1", n, tt.op)
			}

			s.Inject(tt.op, awsstub.Fault{Kind: awsstub.AccessDenied}) // which the SDK does not try again
			if _, err := get(t.Context(), sm.NewFromConfig(sdk(t, tt.env(s))), "a"); err == nil {
				t.Error("secret read though no credentials could be had")
			}
		})
	}
}

func TestInstanceRegion(t *testing.T) {
	s := start(t, awsstub.Options{Region: "eu-north-1"})
	out, err := imds.NewFromConfig(sdk(t, s.InstanceEnv())).GetRegion(t.Context(), &imds.GetRegionInput{})
	if err != nil || out.Region != "eu-north-1" {
		t.Errorf("region %v, %v", out, err)
	}
}

func TestMetadataRefusals(t *testing.T) {
	s := start(t, awsstub.Options{})
	var container string
	for _, kv := range s.ContainerEnv() {
		if uri, ok := strings.CutPrefix(kv, "AWS_CONTAINER_CREDENTIALS_FULL_URI="); ok {
			container = strings.TrimPrefix(uri, s.URL())
		}
	}
	const roles = "/latest/meta-data/iam/security-credentials/"
	status, token := raw(t, s, "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if status != 200 {
		t.Fatal(status, token)
	}
	tests := []struct {
		name, method, path, header, value string
		status                            int
	}{
		{"role with token", "GET", roles, "X-aws-ec2-metadata-token", token, 200},
		{"role without token", "GET", roles, "", "", 401},
		{"credentials with a wrong token", "GET", roles + "credproxy-instance", "X-aws-ec2-metadata-token", "x", 401},
		{"credentials of another role", "GET", roles + "other", "X-aws-ec2-metadata-token", token, 404},
		{"token without lifetime", "PUT", "/latest/api/token", "", "", 400},
		{"token for too long", "PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "21601", 400},
		{"container without authorization", "GET", container, "", "", 401},
		{"container by POST", "POST", container, "", "", 404},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if status, body := raw(t, s, tt.method, tt.path, tt.header, tt.value); status != tt.status {
				t.Errorf("%d %s, want %d", status, body, tt.status)
			}
		})
	}
}

func raw(t *testing.T, s *awsstub.Server, method, path, header, value string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != "" {
		req.Header.Set(header, value)
	}
	return do(t, req)
}
