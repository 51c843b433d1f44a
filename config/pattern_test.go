package config

import (
	"strings"
	"testing"
)

func TestCapped(t *testing.T) {
	const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"
	for name, tc := range map[string]struct {
		pattern capped
		before  string
		max     int
	}{
		"user":        {userName, "", 256},
		"secret":      {secretName, "", 512},
		"secret ARN":  {secretARN, arn, 519},
		"role ARN":    {roleARN, "arn:aws:iam::123456789012:role/", 576},
		"external id": {externalID, "", 1224},
		"database":    {databaseName, "", 64},
		"session":     {sessionName, "", 64},
		"queue":       {queuePath, "/123456789012/", 80},
	} {
		longest := tc.before + strings.Repeat("a", tc.max)
		if !tc.pattern.MatchString(longest) || tc.pattern.FindStringSubmatch(longest) == nil {
			t.Errorf("%s: %d bytes do not match", name, tc.max)
		}
		if tc.pattern.MatchString(longest+"a") || tc.pattern.FindStringSubmatch(longest+"a") != nil {
			t.Errorf("%s: one byte more than %d does", name, tc.max)
		}
	}
	if externalID.MatchString("a") {
		t.Error("an external id of one character")
	}
}

func TestIsTable(t *testing.T) {
	long := strings.Repeat("a", 64)
	for name, want := range map[string]bool{
		"t": true, "_a1.B2": true, long + "." + long: true,
		"": false, ".": false, "a.": false, ".a": false, "a.b.c": false, "1a": false, "a;b": false, "a\n": false, long + "a": false, long + "a.a": false, "a." + long + "a": false,
	} {
		if IsTable(name) != want {
			t.Errorf("%q is a table: %v", name, !want)
		}
	}
}
