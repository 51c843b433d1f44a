package config

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

const (
	minInterval = 30 * time.Second // what asks more often takes the account's calls from others
	maxInterval = 24 * time.Hour
	maxPrefix   = 32
)

// NameInListen stands in each.listen for the name of a database that was found.
const NameInListen = "{name}"

func (v *validator) discover(all []Discover) {
	for i := range all {
		d, at := &all[i], fmt.Sprintf("discover[%d]", i)
		v.region(at+".region", d.Region)
		v.assumeRole(at+".assume_role", d.AssumeRole)
		if d.Interval < minInterval || d.Interval > maxInterval {
			v.failf(at+".interval", "%s is out of range; write a duration from %s to %s", d.Interval, minInterval, maxInterval)
		}
		v.need(at+".iam_user", d.IAMUser, "the database user that may log in with a token")
		v.identifier(at+".iam_user", d.IAMUser)
		if d.Prefix != "" && (len(d.Prefix) > maxPrefix || !databaseName.MatchString(d.Prefix)) {
			v.failf(at+".prefix", "not the beginning of a name; write up to %d letters, digits, dots, underscores or hyphens", maxPrefix)
		}
		v.each(at+".each", d)
	}
}

// each checks what all databases that are found have in common.
func (v *validator) each(at string, d *Discover) {
	for _, key := range []string{"name", "engine", "host", "port", "database", "role", "hosts", "credentials"} {
		if v.written(at + "." + key) {
			v.fail(at+"."+key, "is found; remove it, or write the database under databases")
		}
	}
	for i, s := range d.Each.Listen {
		_, _, err := ParseListener(strings.ReplaceAll(s, NameInListen, "name"))
		_, port, tcp := splitHostPort(s)
		switch path := v.entry(at+".listen", i); {
		case err != nil:
			v.fail(path, err.Error())
		case tcp == nil && port != 0, tcp != nil && !strings.Contains(s, NameInListen):
			v.failf(path, "one listener for many databases; write a socket with the name in its path, such as unix:/run/credproxy/%s.sock, or port 0", NameInListen)
		case tcp == nil:
			v.remote(path, s, &d.Each)
		}
	}
	some := d.Each
	some.Role, some.Credentials.SecretsManager = Reader, new(SecretsManager) // which may have all settings
	v.failover(at, &some)
	v.settings(at, &some)
}

// Check returns the first that is wrong with a database that stands in no file.
func (d *Database) Check() (err error) {
	v := newValidator(func(path, message string) { err = cmp.Or(err, fmt.Errorf("%s: %s", path[1:], message)) }, func(string) bool { return false })
	v.database("", d)
	return err
}
