package config_test

import (
	"strings"
	"testing"

	"github.com/credproxy/credproxy/config"
)

const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"

func TestForSecrets(t *testing.T) {
	c, err := config.ForSecrets([]string{
		arn + "prod/orders-AbCdEf", arn + "prod-orders-GhIjKl", arn + "prod@orders-MnOpQr", arn + "prod/orders-2-AbCdEf",
		arn + "rds!cluster-0a1b2c3d-0000-1111-2222-333344445555-AbCdEf", arn + "!-AbCdEf", arn + strings.Repeat("x", 100) + "-AbCdEf",
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range c.Databases {
		names = append(names, d.Name)
		if s := d.Credentials.SecretsManager; s.Region != "eu-west-1" || d.Limits.MaxConnections != 1000 || d.Engine != "" || d.Listen != nil {
			t.Errorf("%s: not at the defaults: %+v", d.Name, d)
		}
	}
	want := "prod-orders prod-orders-2 prod-orders-3 prod-orders-2-2 rds-cluster-0a1b2c3d-0000-1111-2222-333344445555 database " + strings.Repeat("x", 56)
	if got := strings.Join(names, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if c.Admin.Listen != "127.0.0.1:9090" {
		t.Errorf("admin listens on %q", c.Admin.Listen)
	}
}

func TestForSecretsErrors(t *testing.T) {
	tests := []struct {
		arns []string
		want string
	}{
		{nil, "no secret; give at least one ARN"},
		{[]string{"orders"}, `"orders" is not the ARN of a secret; write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, or -c before the name of a file`},
		{[]string{arn + "a-AbCdEf", arn + "a-AbCdEf"}, `"` + arn + `a-AbCdEf" is given twice; give each secret once`},
		{make([]string, 1001), "1001 secrets; the most is 1000"},
	}
	for _, tt := range tests {
		if _, err := config.ForSecrets(tt.arns); err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}
