// Package config reads the YAML configuration of credproxy.
//
// Load and Parse hold a file to the whole schema before anything starts: a key
// nobody knows, a value of the wrong type and a setting that contradicts
// another are errors, and all of them are reported at once, each with its file,
// line, column and what to write instead. Invariant: a *Config that came back without an
// error is complete: every default that can be known is filled in.
//
// What depends on a secret (engine, host, port and with them the default
// listener) cannot be known when the file is read. Such fields stay zero here,
// and their comments say so. The package opens no connection, resolves no name,
// reads no credential and never quotes a value found under "credentials".
package config

import (
	"time"
)

// Config is a whole configuration file.
type Config struct {
	Admin     Admin      `yaml:"admin"`
	Log       Log        `yaml:"log"`
	Metrics   Metrics    `yaml:"metrics"`
	Tracing   Tracing    `yaml:"tracing"`
	Shutdown  Shutdown   `yaml:"shutdown"`
	Discover  []Discover `yaml:"discover"`  // one may stand without the list
	Databases []Database `yaml:"databases"` // 1 to 1000; with discover, none at all will do
}

// Admin is the HTTP side: probes, /metrics and the status page.
type Admin struct {
	Listen    string    `yaml:"listen"`       // host:port; "" turns it off; default 127.0.0.1:9090
	Control   string    `yaml:"control"`      // unix:/path of the socket for shutdown, profiles and break-glass; "": none; auto: unix:/run/credproxy/control.sock if that folder exists, else an abstract socket named after listen; default auto
	UIDs      []string  `yaml:"uids,numbers"` // who may control, beside credproxy's own user and root; numeric or names
	Readiness Readiness `yaml:"readiness"`    // serving: off only before the first acceptance and while draining; strict: whenever new logins would fail; default serving
}

// Readiness says what turns GET /readiness off.
type Readiness string

// The ways of readiness.
const (
	Serving Readiness = "serving" // off before each database of the file has accepted a credential once, and while draining
	Strict  Readiness = "strict"  // off also whenever a database's new clients could not be logged in
)

// Log says what is logged to standard error and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error; default info
	Format string `yaml:"format"` // json or console; "" (the default) is console on a terminal, else json
}

// Metrics chooses outputs beside the Prometheus endpoint.
type Metrics struct {
	EMF         bool   `yaml:"emf"`         // CloudWatch Embedded Metric Format lines on standard output; default false
	Service     string `yaml:"service"`     // with emf: the dimension service of every metric; 1 to 64 of A-Z a-z 0-9 . _ -; "": none
	Environment string `yaml:"environment"` // with emf: the dimension environment, such as prod; "": none
}

// Tracing sends a trace of each login to a receiver (docs/traces.md).
type Tracing struct {
	Endpoint string `yaml:"endpoint"` // URL of an OTLP receiver over HTTP, such as http://127.0.0.1:4318, to which /v1/traces is added; "": what OTEL_EXPORTER_OTLP_ENDPOINT says, else no traces
}

// Shutdown bounds the two phases that follow SIGTERM, and how long the old process of an upgrade stays.
type Shutdown struct {
	MinDelay       time.Duration `yaml:"min_delay"`       // keep accepting connections this long after SIGTERM; default 0
	DrainTimeout   time.Duration `yaml:"drain_timeout"`   // then wait this long for sessions to end; default 30s
	UpgradeTimeout time.Duration `yaml:"upgrade_timeout"` // after an upgrade the old process waits this long for its sessions to end (0s: they end at once); default 24h
}

// Discover has credproxy ask for the databases of an AWS account in one region, while it runs, and serve those that it finds (docs/discovery.md).
type Discover struct {
	Region      string            `yaml:"region"` // "": the SDK's
	AssumeRole  AssumeRole        `yaml:"assume_role"`
	Tags        map[string]string `yaml:"tags"`         // only databases with each of these; the value "": whatever value; none: all databases
	Interval    time.Duration     `yaml:"interval"`     // ask this often; 30s to 24h; default 5m
	IAMUser     string            `yaml:"iam_user"`     // the user of databases with IAM authentication and no secret; default app
	ReadSecrets bool              `yaml:"read_secrets"` // read the secrets that are attached to no database, for the host that they name; default false
	Prefix      string            `yaml:"prefix"`       // before each name, to tell accounts and regions apart
	Each        Database          `yaml:"each"`
}

// Database is one upstream database and the listeners that lead to it.
type Database struct {
	Name        string      `yaml:"name"`     // required; 1 to 64 of A-Z a-z 0-9 . _ -; unique; the label in logs and metrics
	Engine      Engine      `yaml:"engine"`   // postgres, mysql or mariadb; "": the secret's "engine"
	Listen      []string    `yaml:"listen"`   // host:port or unix:/path; localhost is 127.0.0.1 and ::1; empty: localhost on the engine's port
	Host        string      `yaml:"host"`     // "": the secret's "host"
	Port        int         `yaml:"port"`     // 0: the secret's "port", else the engine's
	Database    string      `yaml:"database"` // used when the client names none; "": the secret's "dbname"; none: there is no default
	Role        Role        `yaml:"role"`     // any: the server that host leads to, whatever it is; writer: the server that takes writes; reader: a server that follows the writer; default any
	Hosts       []string    `yaml:"hosts"`    // with role writer or reader: further servers of this database, if the servers do not tell of each other; host or host:port; at most 16
	TLS         TLS         `yaml:"tls"`
	Credentials Credentials `yaml:"credentials"`
	Rotation    Rotation    `yaml:"rotation"`
	Probe       Probe       `yaml:"probe"`
	BreakGlass  BreakGlass  `yaml:"break_glass"`
	Limits      Limits      `yaml:"limits"`
	Access      Access      `yaml:"access"`
	ClientTLS   ClientTLS   `yaml:"client_tls"`
	Session     Session     `yaml:"session"`
	Pool        Pool        `yaml:"pool"`
	Failover    Failover    `yaml:"failover"`

	Found bool `yaml:"-"` // by discover; it stands in no file
}

// The engines that credproxy speaks to.
const (
	Postgres Engine = "postgres"
	MySQL    Engine = "mysql"
	MariaDB  Engine = "mariadb"
)

// TLSMode says how the link to the database is protected. The names and their
// meaning are libpq's sslmode.
type TLSMode string

// The modes, the strictest first.
const (
	VerifyFull TLSMode = "verify-full" // encrypted, chain and host name verified
	VerifyCA   TLSMode = "verify-ca"   // encrypted, chain verified
	Require    TLSMode = "require"     // encrypted, nothing verified
	Disable    TLSMode = "disable"     // plain text
)

// TLS protects the link from credproxy to the database.
type TLS struct {
	Mode           TLSMode `yaml:"mode"`             // verify-full, verify-ca, require or disable; default verify-full
	CAFile         string  `yaml:"ca_file"`          // PEM; required with verify-ca; "": the embedded RDS bundle plus the system's roots
	ServerName     string  `yaml:"server_name"`      // "": the database's host
	ClientCertFile string  `yaml:"client_cert_file"` // PEM; shown to the database; with client_key_file
	ClientKeyFile  string  `yaml:"client_key_file"`  // PEM; with client_cert_file

	AllowUnverifiedPassword bool `yaml:"allow_unverified_password"` // MySQL and MariaDB, with mode require or disable: tell the server the password when it asks for more than a scramble; default false
}

// Credentials names the one place the login comes from: exactly one of the
// fields is not nil.
type Credentials struct {
	SecretsManager *SecretsManager `yaml:"secrets_manager"`
	IAM            *IAM            `yaml:"iam"`
	DSQL           *DSQL           `yaml:"dsql"`
	File           *CredentialFile `yaml:"file"`
	Env            *Env            `yaml:"env"`
}

// SecretsManager is a secret in AWS Secrets Manager.
type SecretsManager struct {
	SecretID   string     `yaml:"secret_id"` // required; an ARN or a name
	Region     string     `yaml:"region"`    // default: the ARN's; "": the SDK's
	Keys       Keys       `yaml:"keys"`
	AssumeRole AssumeRole `yaml:"assume_role"`
}

// Keys are JSON pointers (RFC 6901) into the secret, for one that holds many.
type Keys struct {
	Username string `yaml:"username"` // "": /username
	Password string `yaml:"password"` // "": /password
}

// AssumeRole is the IAM role to take before AWS is asked. No RoleARN, no role.
type AssumeRole struct {
	RoleARN     string `yaml:"role_arn"`     // arn:aws:iam::ACCOUNT:role/NAME; "": none
	ExternalID  string `yaml:"external_id"`  // if the role's trust policy asks for one
	SessionName string `yaml:"session_name"` // shown in CloudTrail; default credproxy
}

// IAM is RDS IAM database authentication: a token instead of a password.
type IAM struct {
	User        string     `yaml:"user"`         // required; the database user
	Region      string     `yaml:"region"`       // default: the one in the RDS host name
	SigningHost string     `yaml:"signing_host"` // host or host:port the token is signed for; "": the database's host and port
	AssumeRole  AssumeRole `yaml:"assume_role"`
}

// DSQL is Amazon Aurora DSQL, which takes only tokens. The engine is postgres, the default database postgres; the token
// is for tls.server_name, else host.
type DSQL struct {
	User       string     `yaml:"user"`   // required; the database role; admin logs in as the administrator
	Region     string     `yaml:"region"` // default: the one in the cluster's host name
	AssumeRole AssumeRole `yaml:"assume_role"`
}

// CredentialFile is a file with the secret's JSON, or a directory with the
// files username and password. It may appear after the start.
type CredentialFile struct {
	Path          string `yaml:"path"`           // required
	WorldReadable bool   `yaml:"world_readable"` // accept a password that every user of the machine can read; default false
}

// Env names the two environment variables that hold the login.
type Env struct {
	Username string `yaml:"username"` // required; the name of the variable with the user name
	Password string `yaml:"password"` // required; the name of the variable with the password
}

// Rotation says how new versions of the credential are found.
type Rotation struct {
	Refresh  time.Duration `yaml:"refresh"`   // look for a new version this often; default 1h
	Grace    time.Duration `yaml:"grace"`     // how long one login may wait for a rotation to finish; default 90s
	MaxStale time.Duration `yaml:"max_stale"` // keep a cached credential this long while AWS is out of reach; default 24h
	Events   Events        `yaml:"events"`
}

// Events is the optional push of rotation events.
type Events struct {
	SQSQueueURL string `yaml:"sqs_queue_url"` // "": no push
}

// Probe is credproxy's own login, to see that the credential works (docs/probe.md).
type Probe struct {
	Interval   time.Duration `yaml:"interval"`    // 0 (the default): only at the start and after a rotation
	WriteTable string        `yaml:"write_table"` // table or schema.table to write to; "": SELECT 1 only
}

// BreakGlass is an emergency credential, used only on the operator's word.
type BreakGlass struct {
	File          string        `yaml:"file"`           // same shape as CredentialFile; "": none
	WorldReadable bool          `yaml:"world_readable"` // as that of CredentialFile
	MaxDuration   time.Duration `yaml:"max_duration"`   // back to the normal credential after this; default 1h
}

// Limits bounds what clients can use up.
type Limits struct {
	MaxConnections int           `yaml:"max_connections"` // 1 to 1,000,000; default 1000
	LoginTimeout   time.Duration `yaml:"login_timeout"`   // for one attempt to log in, from accept to OK; default 15s
	LookupTimeout  time.Duration `yaml:"lookup_timeout"`  // for the addresses of the database's host; default 10s
	DialTimeout    time.Duration `yaml:"dial_timeout"`    // for a TCP connection to the database; default 5s
	ServerTimeout  time.Duration `yaml:"server_timeout"`  // give up a connection to the database if the other end says nothing for this long, and acknowledges nothing; at least 1s; default 30s
}

// Access says who may connect.
type Access struct {
	UIDs        []string `yaml:"uids,numbers"` // numeric or names; empty: any local user
	Databases   []string `yaml:"databases"`    // empty: any database
	Replication bool     `yaml:"replication"`  // PostgreSQL only: let clients replicate although databases is set; replication reads every database; default false
	AllowRemote bool     `yaml:"allow_remote"` // listen off loopback without client certificates; default false
}

// ClientTLS is TLS from the client to credproxy. No CertFile, no TLS.
type ClientTLS struct {
	CertFile     string `yaml:"cert_file"`      // PEM; with key_file
	KeyFile      string `yaml:"key_file"`       // PEM; with cert_file
	ClientCAFile string `yaml:"client_ca_file"` // clients must show a certificate of this CA; "": they need none
}

// Session is what a session starts with.
type Session struct {
	Role string `yaml:"role"` // PostgreSQL only: SET ROLE at login; "": none
}

// Pool keeps server sessions for the next client (docs/pool.md).
type Pool struct {
	Mode                 PoolMode      `yaml:"mode"`                   // off: each client has a server session of its own; session: when a client leaves, its session is reset and given to the next; default off
	MaxIdle              int           `yaml:"max_idle"`               // server sessions kept for the next client; default 20
	Warm                 int           `yaml:"warm"`                   // open this many of them before a client asks, with the startup packet of the client seen last; default 0
	MaxServerConnections int           `yaml:"max_server_connections"` // at this many, further clients wait in turn; 0 (the default): only limits.max_connections counts
	WaitTimeout          time.Duration `yaml:"wait_timeout"`           // how long a client waits for a server session; then it hears that there are too many; default 30s
	IdleTimeout          time.Duration `yaml:"idle_timeout"`           // close a server session that nobody used for this long; default 10m
	MaxLifetime          time.Duration `yaml:"max_lifetime"`           // close a server session this long after its login, less a jitter; default 1h
}

// PoolMode says whether server sessions are used again.
type PoolMode string

// The modes.
const (
	PoolOff     PoolMode = "off"
	PoolSession PoolMode = "session"
)

// Role says which server of a database its clients get.
type Role string

// The roles.
const (
	AnyRole Role = "any"    // whatever server the host leads to: nothing is asked
	Writer  Role = "writer" // the one that takes writes
	Reader  Role = "reader" // one that follows the writer
)

// Failover says how the servers of a database are watched (docs/failover.md). It is for
// roles writer and reader.
type Failover struct {
	Monitor        time.Duration  `yaml:"monitor"`         // ask the server in use this often whether it still has the role; ten times as often while no server is known; 100ms to 1m; default 1s
	Drain          time.Duration  `yaml:"drain"`           // how long a statement or transaction may go on, on a server that has lost the role; default 5s
	Hold           time.Duration  `yaml:"hold"`            // how long new logins wait for the end of a Blue/Green switchover at most; default 30s
	MaxLag         time.Duration  `yaml:"max_lag"`         // role reader: leave out servers that are further behind the writer; default 1s
	ReaderFallback ReaderFallback `yaml:"reader_fallback"` // role reader, while there is no reader; none: logins fail; writer: they get the writer; default none
}

// ReaderFallback says what clients of role reader get while there is no reader.
type ReaderFallback string

// What they can get.
const (
	NoFallback     ReaderFallback = "none"
	FallbackWriter ReaderFallback = "writer"
)
