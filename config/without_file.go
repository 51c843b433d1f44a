package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	secretSuffix = regexp.MustCompile(`-[A-Za-z0-9]{6}$`) // what AWS appends to the name in an ARN
	notInName    = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
)

// ForSecrets is the configuration of "credproxy run SECRET_ARN..." without a
// file: one database for each ARN, named after its secret, all else at the
// defaults and, where those depend on the secret, zero.
func ForSecrets(arns []string) (*Config, error) {
	if len(arns) == 0 {
		return nil, errors.New("no secret; give at least one ARN")
	}
	if len(arns) > MaxDatabases {
		return nil, fmt.Errorf("%d secrets; the most is %d", len(arns), MaxDatabases)
	}
	c := new(Config)
	given, taken := make(map[string]bool), make(map[string]bool)
	for _, arn := range arns {
		match := secretARN.FindStringSubmatch(arn)
		if match == nil {
			return nil, fmt.Errorf("%q is not the ARN of a secret; write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME, or -c before the name of a file", shorten(arn))
		}
		if given[arn] {
			return nil, fmt.Errorf("%q is given twice; give each secret once", arn)
		}
		given[arn] = true
		name := freeName(match[2], taken)
		taken[name] = true
		c.Databases = append(c.Databases, Database{
			Name:        name,
			Credentials: Credentials{SecretsManager: &SecretsManager{SecretID: arn}},
		})
	}
	applyDefaults(c, func(string) bool { return false })
	return c, nil
}

// freeName turns a secret's name into a database name that is not taken.
func freeName(secret string, taken map[string]bool) string {
	name := notInName.ReplaceAllString(secretSuffix.ReplaceAllString(secret, ""), "-")
	name = strings.Trim(name[:min(len(name), 56)], "-") // room for the number below
	if name == "" {
		name = "database"
	}
	free := name
	for i := 2; taken[free]; i++ {
		free = fmt.Sprintf("%s-%d", name, i)
	}
	return free
}
