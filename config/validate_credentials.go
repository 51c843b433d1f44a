package config

import (
	"cmp"
	"net"
	"strings"

	"github.com/credproxy/credproxy/secrets"
)

// credentials checks the source. Its messages quote no value, because a
// password may have slipped into a wrong place.
func (v *validator) credentials(at string, d *Database) {
	path, c := at+".credentials", d.Credentials
	var chosen []string
	if c.SecretsManager != nil {
		chosen = append(chosen, "secrets_manager")
		v.secretsManager(path+".secrets_manager", c.SecretsManager)
	}
	if c.IAM != nil {
		chosen = append(chosen, "iam")
		v.iam(path+".iam", c.IAM, d)
	}
	if c.DSQL != nil {
		chosen = append(chosen, "dsql")
		v.dsql(path+".dsql", at, d)
	}
	if c.File != nil {
		chosen = append(chosen, "file")
		v.need(path+".file.path", c.File.Path, "the path of a JSON file, or of a directory with username and password")
	}
	if c.Env != nil {
		chosen = append(chosen, "env")
		v.env(path+".env", c.Env)
	}
	switch {
	case len(chosen) == 0:
		v.fail(path, "no credential source; write one of secrets_manager, iam, dsql, file or env")
	case len(chosen) > 1:
		v.failf(path, "%d credential sources: %s; keep one", len(chosen), strings.Join(chosen, ", "))
	case c.DSQL != nil:
		v.need(at+".host", d.Host, "the endpoint of the cluster, ID.dsql.REGION.on.aws")
	case c.IAM != nil || c.Env != nil: // no secret that could tell
		v.need(at+".engine", string(d.Engine), "postgres, mysql or mariadb, since credentials."+chosen[0]+" cannot tell")
		v.need(at+".host", d.Host, "the database's host name, since credentials."+chosen[0]+" cannot tell")
	}
}

// need checks that a required setting is there.
func (v *validator) need(path, value, what string) {
	if value == "" {
		v.failf(path, "missing; write %s", what)
	}
}

func (v *validator) secretsManager(at string, s *SecretsManager) {
	path := at + ".secret_id"
	switch isARN := strings.HasPrefix(s.SecretID, "arn:"); {
	case s.SecretID == "":
		v.fail(path, "missing; write the ARN or the name of a secret")
	case isARN && !secretARN.MatchString(s.SecretID):
		v.fail(path, "not the ARN of a secret; write arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME")
	case !isARN && !secretName.MatchString(s.SecretID):
		v.fail(path, "not the name of a secret; names have up to 512 letters, digits and /_+=.@!-")
	}
	v.region(at+".region", s.Region)
	if own := arnRegion(s.SecretID); own != "" && s.Region != own {
		v.fail(at+".region", "differs from the region in secret_id; remove it")
	}
	v.pointer(at+".keys.username", s.Keys.Username)
	v.pointer(at+".keys.password", s.Keys.Password)
	v.assumeRole(at+".assume_role", s.AssumeRole)
}

func (v *validator) pointer(path, p string) {
	if (secrets.Keys{Username: p}).Validate() != nil {
		v.fail(path, "not a JSON pointer; write one such as /orders/password, with ~1 for a slash and ~0 for a tilde in a key")
	}
}

func (v *validator) region(path, region string) {
	if region != "" && !regionName.MatchString(region) {
		v.fail(path, "not an AWS region; write one such as eu-west-1")
	}
}

func (v *validator) assumeRole(at string, r AssumeRole) {
	if r.RoleARN != "" && !roleARN.MatchString(r.RoleARN) {
		v.fail(at+".role_arn", "not the ARN of an IAM role; write arn:aws:iam::ACCOUNT:role/NAME")
	}
	if r.ExternalID != "" && r.RoleARN == "" {
		v.fail(at+".external_id", "does nothing without role_arn; set role_arn, or remove it")
	}
	if r.ExternalID != "" && !externalID.MatchString(r.ExternalID) {
		v.fail(at+".external_id", "not an external id; write 2 to 1224 letters, digits and _+=,.@:/-")
	}
	if !sessionName.MatchString(r.SessionName) {
		v.fail(at+".session_name", "not a session name; write 2 to 64 letters, digits and _+=,.@-")
	}
}

func (v *validator) iam(at string, s *IAM, d *Database) {
	v.need(at+".user", s.User, "the database user that may log in with a token")
	v.identifier(at+".user", s.User)
	v.region(at+".region", s.Region)
	if s.Region == "" && d.Host != "" {
		v.fail(at+".region", "missing, and not part of the host name; write the region of the database, such as eu-west-1")
	}
	if h := s.SigningHost; h != "" && !isHost(h) {
		if host, port, err := splitHostPort(h); err != nil || host == "" || port == 0 {
			v.fail(at+".signing_host", "neither a host nor host:port; write the RDS endpoint")
		}
	}
	v.assumeRole(at+".assume_role", s.AssumeRole)
	if d.TLS.Mode == Require || d.TLS.Mode == Disable {
		v.fail(strings.TrimSuffix(at, ".credentials.iam")+".tls.mode", "IAM tokens are sent over verified TLS only; use verify-full")
	}
}

// dsql holds a database to what Aurora DSQL asks for: it finds the cluster by the name in
// the TLS handshake, and the token is for the same name.
func (v *validator) dsql(path, at string, d *Database) {
	s := d.Credentials.DSQL
	v.need(path+".user", s.User, "the database role, or admin")
	v.identifier(path+".user", s.User)
	v.region(path+".region", s.Region)
	if s.Region == "" && d.Host != "" {
		v.fail(path+".region", "missing, and not part of the host name; write the region of the cluster, such as eu-west-1")
	}
	v.assumeRole(path+".assume_role", s.AssumeRole)
	if d.Engine != Postgres {
		v.fail(at+".engine", "Aurora DSQL is a postgres; remove it")
	}
	if d.TLS.Mode != VerifyFull {
		v.fail(at+".tls.mode", "tokens for Aurora DSQL are sent over verified TLS only; use verify-full")
	}
	if name := cmp.Or(d.TLS.ServerName, d.Host); net.ParseIP(name) != nil {
		v.fail(at+".tls.server_name", "missing, and host is an address; write the endpoint of the cluster, by which Aurora DSQL finds it")
	}
}

func (v *validator) env(at string, e *Env) {
	for _, variable := range []struct{ path, name string }{
		{at + ".username", e.Username}, {at + ".password", e.Password},
	} {
		if !envName.MatchString(variable.name) {
			v.fail(variable.path, "not the name of an environment variable; write the name, not the value")
		}
	}
}
