package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/probe"
	mysql "github.com/credproxy/credproxy/proxy/mysql/backend"
	postgres "github.com/credproxy/credproxy/proxy/postgres/backend"
	"github.com/credproxy/credproxy/proxy/upstream"
	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/env"
	"github.com/credproxy/credproxy/wiring"
)

// checker goes the way of a login, step by step. Each step leaves here what later
// ones need.
type checker struct {
	db        *config.Database
	variables *env.Variables
	engine    config.Engine // the configuration's, else the secret's
	upstream  *upstream.Dialer
	source    secrets.Source
	cred      *secrets.Credential // with a place even if the step credential failed
	host      string
	port      int
}

// checkDatabase walks the steps of one database. A step that needs one that failed is
// skipped.
func checkDatabase(ctx context.Context, db *config.Database, vars *env.Variables) Report {
	c := &checker{db: db, variables: vars, engine: db.Engine, cred: secrets.NewCredential("", "")}
	where := []string{"configuration"} // needed to know host and port
	if db.Host == "" {
		where = append(where, "credential")
	}
	how := []string{"tcp"} // needed to know which protocol
	if db.Engine == "" {
		how = append(how, "credential")
	}
	up := Report{Database: db.Name, OK: true}
	missing := map[string]bool{} // failed or skipped
	type step struct {
		name  string
		needs []string
		do    func(context.Context) Step
	}
	steps := []step{
		{"configuration", nil, c.configuration},
		{"credential", []string{"configuration"}, c.credential},
		{"dns", where, c.dns},
		{"tcp", []string{"dns"}, c.tcp},
		{"tls", how, c.tls},
		{"login", []string{"credential", "tls"}, c.login},
		{"rights", []string{"login"}, c.rights},
	}
	if db.Role != config.AnyRole {
		steps = append(steps, step{"servers", []string{"login"}, c.servers})
	}
	for _, next := range steps {
		s := Step{Result: Skipped}
		if i := slices.IndexFunc(next.needs, func(n string) bool { return missing[n] }); i >= 0 {
			s.Detail = "needs " + next.needs[i]
		} else {
			bounded, cancel := context.WithTimeout(ctx, db.Limits.LoginTimeout)
			s = next.do(bounded)
			cancel()
		}
		s.Name = next.name
		missing[next.name] = s.Result == Failed || s.Result == Skipped
		up.OK = up.OK && s.Result != Failed
		up.Steps = append(up.Steps, s)
	}
	return up
}

// configuration loads what the configuration names.
func (c *checker) configuration(ctx context.Context) Step {
	var err error
	if c.upstream, err = wiring.NewUpstream(c.db); err != nil {
		return failure(err)
	}
	if c.source, err = wiring.NewSource(ctx, c.db, c.variables, nil, nil); err != nil {
		return failure(err)
	}
	if _, err := wiring.NewEmergency(ctx, c.db); err != nil {
		return failure(err)
	}
	if _, err := wiring.FindUsers("access.uids", c.db.Access.UIDs); err != nil {
		return failure(err)
	}
	if c.db.ClientTLS.CertFile == "" {
		return fine("%s", c.source.Kind())
	}
	pair, err := wiring.NewClientTLS(c.db.ClientTLS)
	if err != nil {
		return failure(err)
	}
	if leaf := pair.Certificates[0].Leaf; leaf != nil && time.Until(leaf.NotAfter) < expiresSoon {
		return Step{Result: Warning, Detail: "client_tls.cert_file: " + describe(leaf), Advice: "Renew it: clients will refuse it from then on."}
	}
	return fine("%s, TLS for clients", c.source.Kind())
}

// credential fetches what logins begin with.
func (c *checker) credential(ctx context.Context) Step {
	cred, err := c.source.Fetch(ctx, secrets.Current)
	if err != nil {
		return failure(err)
	}
	c.cred = cred
	if c.engine == "" {
		c.engine = config.Engine(cred.Endpoint.Engine)
	}
	switch {
	case c.engine == "":
		return Step{Result: Failed, Detail: "neither the configuration nor the secret names the engine", Advice: "Set engine for this database in the configuration of credproxy."}
	case c.db.Session.Role != "" && c.engine != config.Postgres:
		return Step{Result: Failed, Detail: fmt.Sprintf("session.role is for PostgreSQL, and the secret names %s", c.engine), Advice: "Remove session.role."}
	}
	s := fine("user %s, version %s", cred.Username, cred.ShortVersion())
	if c.db.Credentials.SecretsManager != nil {
		rotationOf(ctx, c.db.Credentials.SecretsManager, &s)
	}
	return s
}

// dns looks the host up.
func (c *checker) dns(ctx context.Context) (s Step) {
	c.upstream.DefaultPort = c.engine.Port()
	var err error
	if c.host, c.port, err = c.upstream.Target(c.cred); err != nil {
		return failure(err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.upstream.LookupTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, c.host)
	if err != nil {
		return Step{Result: Failed, Detail: err.Error(), Advice: "Check host for a typing error, and the name servers of this machine."}
	}
	return fine("%s is %s", c.host, strings.Join(addrs, ", "))
}

// tcp connects, and asks nothing.
func (c *checker) tcp(ctx context.Context) Step {
	if c.port == 0 {
		return Step{Result: Failed, Detail: "the database's port is not known", Advice: "Set port or engine for this database in the configuration of credproxy."}
	}
	start := time.Now()
	conn, err := c.upstream.Dial(ctx, c.host, c.port)
	if err != nil {
		return failure(err)
	}
	defer conn.Close()
	return fine("%s answers after %s", conn.RemoteAddr(), time.Since(start).Round(100*time.Microsecond))
}

func (c *checker) database(cred *secrets.Credential) string {
	return probe.OwnDatabase(c.db, c.engine, cred)
}

// query logs in and runs statements.
func (c *checker) query(ctx context.Context, u *upstream.Dialer, cred *secrets.Credential, role string, statements ...string) ([][]string, error) {
	none := c.db.Database == config.NoDatabase
	if c.engine == config.Postgres {
		p := postgres.Params{Dialer: u, Database: c.db.Database, NoDatabase: none, Role: role}
		return postgres.Query(ctx, p, cred, c.database(cred), statements...)
	}
	return mysql.Query(ctx, mysql.Params{Dialer: u, Database: c.db.Database, NoDatabase: none}, cred, "", statements...)
}

// errSeen ends a handshake that has shown its certificates.
var errSeen = errors.New("certificates seen")

// tls looks at the database's certificates. It takes any, so that it can say what
// is wrong with them, and breaks off before anything is said over the link.
func (c *checker) tls(ctx context.Context) Step {
	if c.db.TLS.Mode == config.Disable {
		return Step{Result: Warning, Detail: "not encrypted: tls.mode is disable", Advice: "Use verify-full."}
	}
	var seen []*x509.Certificate
	u := &upstream.Dialer{
		Host: c.upstream.Host, Port: c.upstream.Port, DefaultPort: c.upstream.DefaultPort,
		LookupTimeout: c.upstream.LookupTimeout, DialTimeout: c.upstream.DialTimeout,
		Mode: config.Require, ServerName: c.upstream.ServerName, TLS: c.upstream.TLS.Clone(),
	}
	u.TLS.VerifyConnection = func(cs tls.ConnectionState) error {
		seen = cs.PeerCertificates
		return errSeen
	}
	// A password is never asked for: the handshake comes first.
	nobody := secrets.NewCredential("credproxy", "")
	nobody.Endpoint = c.cred.Endpoint
	_, err := c.query(ctx, u, nobody, "")
	if !errors.Is(err, errSeen) {
		return failure(err)
	}
	name := c.db.TLS.ServerName
	if name == "" {
		name = c.host
	}
	return judge(seen, c.upstream.TLS.RootCAs, c.upstream.Mode, name)
}

// login offers the credential as a session would. Where the database refuses it,
// the other versions tell how far a rotation has come.
func (c *checker) login(ctx context.Context) Step {
	_, err := c.query(ctx, c.upstream, c.cred, "", "SELECT 1")
	switch outcome, unwelcome := probe.AcceptanceOf(c.db, c.database(c.cred), err); outcome {
	case probe.Accepted:
		return fine("the database takes %s's credential", c.cred.Username)
	case probe.AcceptedThenFailed:
		return failure(unwelcome)
	}
	refused := failure(err)
	if !secrets.IsRejected(err) {
		return refused
	}
	for _, stage := range []secrets.Stage{secrets.Pending, secrets.Previous} {
		cred, err := c.source.Fetch(ctx, stage)
		if err != nil || cred.VersionID == c.cred.VersionID {
			continue
		}
		cred.Endpoint = c.cred.Endpoint // a label contributes user and password
		if _, err = c.query(ctx, c.upstream, cred, "", "SELECT 1"); err == nil {
			c.cred = cred
			return Step{
				Result: Warning,
				Detail: fmt.Sprintf("the database refuses %s and takes %s (version %s)", secrets.Current, stage, cred.ShortVersion()),
				Advice: "A rotation is under way, hangs or was rolled back. credproxy logs in all the same; if it stays so, look into the log of the rotation function.",
			}
		}
	}
	if c.db.Credentials.IAM == nil && c.db.Credentials.DSQL == nil && c.engine == config.Postgres {
		refused.Advice += " If rds_iam is granted to the user, RDS takes no password from it."
	}
	return refused
}
