package admin

import (
	"fmt"
	"slices"
	"time"

	"github.com/credproxy/credproxy/metrics/recent"
)

// Status is what GET /status answers and the status page shows: what credproxy
// knows at one moment. It is plain data. Field names in JSON are stable: fields
// are added, never renamed. Times are RFC 3339; what is not known is left out.
//
// Invariant: nothing in it is secret. Texts are those a client may read: they
// name no account, path or password.
type Status struct {
	Version       string    `json:"version"`
	PID           int       `json:"pid"`
	Now           time.Time `json:"now"`
	Started       time.Time `json:"started"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	// Ready and Reasons are what GET /readiness says.
	Ready     bool       `json:"ready"`
	Reasons   []string   `json:"reasons,omitempty"`
	Draining  bool       `json:"draining"`              // shutting down; takes no new sessions
	Reload    *Reload    `json:"last_reload,omitempty"` // of the configuration; none since the start
	Databases []Database `json:"databases"`
	// Discovery is what is known of the accounts that are asked for databases.
	Discovery []Discovery `json:"discovery,omitempty"`
	// Predecessors are older processes, from before upgrades, that still have sessions.
	Predecessors []Predecessor `json:"predecessors,omitempty"`
}

// Predecessor is a process that accepts no more and keeps its sessions until they end.
type Predecessor struct {
	PID      int       `json:"pid"`
	Version  string    `json:"version,omitempty"`
	Started  time.Time `json:"started,omitzero"`
	Sessions int64     `json:"sessions"`
	Until    time.Time `json:"until,omitzero"`  // when shutdown.upgrade_timeout ends those that are left
	Error    string    `json:"error,omitempty"` // why the rest is not known
}

// String says what there is to know, for people.
func (p Predecessor) String() string {
	if p.Error != "" {
		return fmt.Sprintf("process %d, from before an upgrade: %s", p.PID, p.Error)
	}
	return fmt.Sprintf("process %d (%s), from before an upgrade, keeps its sessions (%d) until they end, or until %s",
		p.PID, p.Version, p.Sessions, p.Until.UTC().Format("2006-01-02 15:04Z"))
}

// Trouble reports whether a database is not ready though credproxy as a whole is.
func (s Status) Trouble() bool {
	return s.Ready && slices.ContainsFunc(s.Databases, func(db Database) bool { return !db.Ready })
}

// Reload is the last time that the configuration was read again. If it was refused
// the one before stays in force; the log says why.
type Reload struct {
	At time.Time `json:"at"`
	OK bool      `json:"ok"`
}

// Discovery is one account and region that is asked for its databases.
type Discovery struct {
	Region    string    `json:"region,omitempty"`    // as configured; the environment's is not told
	Role      string    `json:"role,omitempty"`      // the name of the one that is taken to ask
	Databases int       `json:"databases"`           // found there and served
	NotServed int       `json:"not_served"`          // found there and not served, as the log tells
	Answered  time.Time `json:"answered,omitzero"`   // when AWS last told all
	NextRound time.Time `json:"next_round,omitzero"` // when AWS is asked again
	Error     string    `json:"error,omitempty"`     // why it did not tell all the last time: access_denied or unavailable
}

// String says it in words, for people.
func (v Discovery) String() string {
	of := "the environment's region"
	if v.Region != "" {
		of = v.Region
	}
	if v.Role != "" {
		of += " as " + v.Role
	}
	said := fmt.Sprintf("discovery in %s: %d %s served, %d not; ", of, v.Databases, plural(v.Databases, "database"), v.NotServed)
	switch {
	case v.Answered.IsZero() && v.Error == "":
		return said + "AWS is being asked"
	case v.Answered.IsZero():
		return said + "AWS has never told all: " + v.Error
	case v.Error != "":
		return said + "AWS last told all at " + v.Answered.UTC().Format("15:04:05Z") + ", and not since: " + v.Error
	}
	return said + "AWS told all at " + v.Answered.UTC().Format("15:04:05Z")
}

// Database is one configured database. Names of fields that say what is going on
// with it follow those of the metrics.
type Database struct {
	Name      string   `json:"name"`
	Engine    string   `json:"engine,omitempty"`    // postgres, mysql or mariadb; not before the secret has named it
	Listeners []string `json:"listeners,omitempty"` // host:port or unix:/path, once they are open
	Upstream  string   `json:"upstream,omitempty"`  // host:port
	// Ready says that new clients can be logged in, as far as is known. More turns it off
	// than GET /readiness.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why it is not ready
	// Replacement is why the new configuration of a reload does not serve yet. All
	// else is of the one before, which goes on.
	Replacement string `json:"replacement,omitempty"`

	Credential Credential `json:"credential"`
	Rotation   *Rotation  `json:"last_rotation,omitempty"` // the last one seen; none since the start
	Sessions   Sessions   `json:"sessions"`
	Failures   []Failure  `json:"failures,omitempty"` // by reason, the most frequent first
	// Recent is what happened in the last 15 minutes. Its slots, of which the page makes
	// charts, are not in the JSON: metrics have them.
	Recent *recent.Window `json:"recent,omitempty"`
	Pool   *Pool          `json:"pool,omitempty"` // only with pool.mode session

	Servers *Servers `json:"servers,omitempty"` // only with role writer or reader

	SourceBreaker   *Breaker    `json:"source_breaker,omitempty"`   // in front of the credential's source
	DatabaseBreaker *Breaker    `json:"database_breaker,omitempty"` // in front of the database
	BreakGlass      *BreakGlass `json:"break_glass,omitempty"`      // only if one is configured
	Probe           *Probe      `json:"probe,omitempty"`            // credproxy's own last login
}

// Credential is the one that the next login offers first.
type Credential struct {
	Source    string `json:"source"` // secrets_manager, iam, file or env
	User      string `json:"user,omitempty"`
	VersionID string `json:"version_id,omitempty"`
	Stage     string `json:"stage,omitempty"` // the label it was fetched under: AWSCURRENT, AWSPENDING, AWSPREVIOUS
	// Confirmed is when the source last gave it, AgeSeconds how long ago that is.
	Confirmed  time.Time `json:"confirmed,omitzero"`
	AgeSeconds float64   `json:"age_seconds,omitempty"`
	// UsableUntil is when rotation.max_stale ends its use if its source gives none
	// until then.
	UsableUntil time.Time `json:"usable_until,omitzero"`
	Expires     time.Time `json:"expires,omitzero"` // of IAM tokens
	Accepted    bool      `json:"accepted"`         // the database took it
	Refused     bool      `json:"refused"`          // the database refused it lately, and nothing moved since
	Stale       bool      `json:"stale"`            // it has expired or is older than rotation.max_stale
	// FetchError is why the source's last answer was none: not_found, no_version,
	// access_denied, malformed or unavailable.
	FetchError   string    `json:"fetch_error,omitempty"`
	NextRefresh  time.Time `json:"next_refresh,omitzero"`  // when the source is asked again
	NextRotation time.Time `json:"next_rotation,omitzero"` // as the secret's schedule says
}

// Rotation is the last time that logins went over to another version.
type Rotation struct {
	At        time.Time `json:"at"` // when the database first took the new version
	VersionID string    `json:"version_id"`
	// WaitedLogins is how many logins were under way at that moment, and
	// WaitedSeconds how long the longest of them took from the client's
	// connection to its OK.
	WaitedLogins  int     `json:"waited_logins"`
	WaitedSeconds float64 `json:"waited_seconds"`
}

// Sessions counts the clients of one database.
type Sessions struct {
	Active          int64   `json:"active"`            // logged in or logging in
	Limit           int     `json:"limit"`             // limits.max_connections
	Total           int64   `json:"total"`             // logged in since the start
	Failed          int64   `json:"failed"`            // ended without having been logged in
	LoginsPerSecond float64 `json:"logins_per_second"` // over the last 60 s
	BytesToUpstream int64   `json:"bytes_to_upstream"`
	BytesToClient   int64   `json:"bytes_to_client"`
}

// Pool counts the server sessions that are used again.
type Pool struct {
	Idle    int              `json:"idle"`    // kept for the next client
	InUse   int              `json:"in_use"`  // by a client, or being opened or reset
	Waiting int              `json:"waiting"` // clients, for one of pool.max_server_connections
	Opened  int64            `json:"opened"`  // since the start
	Reused  int64            `json:"reused"`
	Closed  map[string]int64 `json:"closed,omitempty"` // by the label "reason" of credproxy_pool_closed_total
}

// Servers are what is known of the servers of a database.
type Servers struct {
	Role       string     `json:"role"`                 // that clients want: writer or reader
	Server     string     `json:"server,omitempty"`     // host:port of the one that has it; of readers, of the one that is watched
	Address    string     `json:"address,omitempty"`    // at which it was found
	Trouble    time.Time  `json:"trouble,omitzero"`     // since when none is known
	Changes    int        `json:"changes"`              // times that another server took the role over, since the start
	Switchover string     `json:"switchover,omitempty"` // of a Blue/Green deployment: initiated, under way or done
	Instances  []Instance `json:"instances,omitempty"`  // as the servers say; at most 64
}

// String says it in words, for "credproxy status".
func (v *Servers) String() string {
	said := "nobody has looked for the " + v.Role + " yet"
	switch {
	case v.Server != "":
		said = fmt.Sprintf("the %s is %s at %s", v.Role, v.Server, v.Address)
	case !v.Trouble.IsZero():
		said = fmt.Sprintf("no %s since %s", v.Role, v.Trouble.UTC().Format("2006-01-02 15:04:05Z"))
	}
	for _, i := range v.Instances {
		said += fmt.Sprintf("; %s %s", i.Name, i.Role)
		if i.LagSeconds != nil {
			said += ", " + human(*i.LagSeconds) + " behind"
		}
	}
	if v.Switchover != "" {
		said += "; Blue/Green switchover " + v.Switchover
	}
	return fmt.Sprintf("%s; %d failovers since the start", said, v.Changes)
}

// Instance is one server of a database.
type Instance struct {
	Name       string   `json:"name"` // its identifier, else host:port
	Role       string   `json:"role"` // writer, reader or server of unknown role
	LagSeconds *float64 `json:"lag_seconds,omitempty"`
}

// Failure counts the sessions that ended for one reason. Reason is the label
// "result" of credproxy_connections_total.
type Failure struct {
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	Last   time.Time `json:"last"`
	Error  string    `json:"error,omitempty"` // what the last of these clients was told
}

// Breaker is a circuit breaker.
type Breaker struct {
	State   string    `json:"state"`             // closed, open or half-open
	Since   time.Time `json:"since,omitzero"`    // when it took this state
	RetryAt time.Time `json:"retry_at,omitzero"` // when it lets the next one through
	Error   string    `json:"error,omitempty"`   // why it opened
}

// The states of a [Breaker].
const (
	BreakerClosed   = "closed"
	BreakerOpen     = "open"
	BreakerHalfOpen = "half-open"
)

// BreakGlass is the emergency credential.
type BreakGlass struct {
	Active bool      `json:"active"` // logins use it instead of the normal credential
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"` // when it ends by itself
	Error  string    `json:"error,omitempty"`
}

// Probe is the last login that credproxy made for itself.
type Probe struct {
	At        time.Time `json:"at"`
	OK        bool      `json:"ok"`
	Error     string    `json:"error,omitempty"`
	Seconds   float64   `json:"seconds"`
	VersionID string    `json:"version_id,omitempty"`
}
