package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/rotation"
	"github.com/credproxy/credproxy/wiring"
)

// environment is what the variables of the function say.
type environment struct {
	settings rotation.Settings
	link     wiring.Link
	endpoint string
}

// variable is one that the function goes by.
type variable struct {
	name, def, does string
	set             func(value string) error
}

// variables lists them, with where their values go.
func (e *environment) variables() []variable {
	s, p := &e.settings, &e.settings.Password
	return []variable{
		{"STRATEGY", "", "`single` or `alternating`; default: alternating if the secret names a master's", func(v string) error {
			s.Strategy = rotation.Strategy(v)
			if s.Strategy != rotation.Auto && s.Strategy != rotation.Single && s.Strategy != rotation.Alternating {
				return fmt.Errorf("%q is none; write single or alternating", v)
			}
			return nil
		}},
		{"MASTER_SECRET", "", "the master's secret, where the secret itself has no `masterarn`", text(&s.Master)},
		{"OWNER_ROLE", "", "PostgreSQL, alternating: the role that owns what both users make", text(&s.Owner)},
		{"ALLOW_MD5", "false", "PostgreSQL: a role with an md5 password gets one again", truth(&s.AllowMD5)},
		{"RETAIN_PASSWORD", "true", "MySQL and MariaDB, single: the password before works until the next rotation, where the server can do that", func(v string) error {
			var retain bool
			err := truth(&retain)(v)
			s.NoRetain = !retain
			return err
		}},
		{"DISCARD_AFTER", "", "MySQL and MariaDB: connectivity checks discard the password before once AWSCURRENT is so old, as `24h`; default: the next rotation does", duration(&s.DiscardAfter)},
		{"TLS_SERVER_NAME", "", "name in the database's certificate, where the secret's host is an alias", text(&e.link.ServerName)},
		{"TLS_CA_FILE", "", "certificates to trust; default: the system's and those of RDS", text(&e.link.CAFile)},
		{"CHECK_WRITE_TABLE", "", "table that connectivity checks write a row to and take back", func(v string) error {
			s.WriteTable = v
			if v != "" && !config.IsTable(v) {
				return fmt.Errorf("%q is not a table; write table or schema.table", v)
			}
			return nil
		}},
		{"PASSWORD_SOURCE", "local", "`local`: made by the function; `secretsmanager`: by GetRandomPassword", func(v string) error {
			p.FromSecretsManager = v == "secretsmanager"
			if v != "local" && v != "secretsmanager" {
				return fmt.Errorf("%q is none; write local or secretsmanager", v)
			}
			return nil
		}},
		{"PASSWORD_LENGTH", "32", "characters of a password", func(v string) (err error) {
			p.Length, err = strconv.Atoi(v)
			return err
		}},
		{"EXCLUDE_CHARACTERS", rotation.DefaultExclude, "characters that are in no password", text(&p.Exclude)},
		{"EXCLUDE_NUMBERS", "false", "no digits", truth(&p.NoNumbers)},
		{"EXCLUDE_PUNCTUATION", "false", "no punctuation", truth(&p.NoPunctuation)},
		{"EXCLUDE_UPPERCASE", "false", "no upper case", truth(&p.NoUppercase)},
		{"EXCLUDE_LOWERCASE", "false", "no lower case", truth(&p.NoLowercase)},
		{"REQUIRE_EACH_INCLUDED_TYPE", "true", "at least one character of each class that is not excluded", truth(&p.EachClass)},
		{"SECRETS_MANAGER_ENDPOINT", "", "URL of Secrets Manager; default: the region's", text(&e.endpoint)},
	}
}

func text(to *string) func(string) error {
	return func(v string) error { *to = v; return nil }
}

// truth takes what AWS's templates take, and what Go does.
func truth(to *bool) func(string) error {
	return func(v string) (err error) {
		switch strings.ToLower(v) {
		case "y", "yes":
			v = "true"
		case "n", "no":
			v = "false"
		}
		if *to, err = strconv.ParseBool(v); err != nil {
			err = fmt.Errorf("%q is neither true nor false", v)
		}
		return err
	}
}

func duration(to *time.Duration) func(string) error {
	return func(v string) (err error) {
		if v == "" {
			return nil
		}
		if *to, err = time.ParseDuration(v); err != nil || *to < 0 {
			return fmt.Errorf("%q is no duration; write one such as 24h", v)
		}
		return nil
	}
}

// readEnvironment reads the variables. The error names the one that is wrong.
func readEnvironment(lookup func(string) (string, bool)) (*environment, error) {
	e := new(environment)
	for _, v := range e.variables() {
		value, ok := lookup(v.name)
		if !ok || value == "" && v.name != "EXCLUDE_CHARACTERS" { // a template's parameter that was left out
			value = v.def
		}
		if err := v.set(value); err != nil {
			return nil, fmt.Errorf("%s: %w", v.name, err)
		}
	}
	if err := e.settings.Password.Validate(); err != nil {
		return nil, err
	}
	return e, nil
}
