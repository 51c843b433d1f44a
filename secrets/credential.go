package secrets

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Stage is a staging label of Secrets Manager: the name by which one version of
// a secret is found. Sources without labels know only [Current].
type Stage string

const (
	// Current names the version that clients should use. It always exists.
	Current Stage = "AWSCURRENT"
	// Pending names the next version while a rotation runs. In a single-user
	// rotation the database accepts only this one from setSecret until
	// finishSecret moves AWSCURRENT.
	Pending Stage = "AWSPENDING"
	// Previous names the version that was AWSCURRENT before the last rotation.
	Previous Stage = "AWSPREVIOUS"
	// Emergency is no staging label: it stands in events for the credential that
	// Cache.BreakGlass was given.
	Emergency Stage = "BREAK_GLASS"
)

// Endpoint is what a secret itself says about its database. Every field may be
// empty: secrets managed by RDS hold only a user name and a password. AWSCURRENT's is
// the one that counts, whichever version logs in.
type Endpoint struct {
	Engine   string // "postgres", "mysql" or "mariadb"
	Host     string
	Port     int
	Database string
}

// Credential is one version of a secret: a user name and a password. It is
// immutable, but for when it was refused; the same version fetched twice is the same
// *Credential for as long as AWSCURRENT's endpoint is the same, so it can key what is
// derived from it.
type Credential struct {
	// Username is the database user. It is no secret.
	Username string
	// VersionID tells versions apart: the version id of Secrets Manager, or an
	// id that says nothing about the content (see UseLocalVersion).
	VersionID string
	// Expires is when the database stops taking it; zero if it does not expire.
	Expires time.Time
	// Endpoint is where the credential is to be offered. A source fills in what the
	// version says; what a [Cache] offers has AWSCURRENT's in its place.
	Endpoint Endpoint

	asFetched *Credential // with the version's own endpoint; nil: this is it

	// A pointer, because fmt prints unexported fields of nested values without
	// asking their methods, and prints a nested pointer as an address.
	password *string
	refused  *atomic.Int64 // when the database last refused it, in Unix nanoseconds
}

// NewCredential makes a credential of a user name and a password. The caller
// fills in VersionID, Expires and Endpoint before anyone else sees it.
func NewCredential(username, password string) *Credential {
	return &Credential{Username: username, password: &password, refused: new(atomic.Int64)}
}

// reveal returns the secret itself. What leaves the package goes through [Release].
func (c *Credential) reveal() string {
	if c.password == nil {
		return ""
	}
	return *c.password
}

// own returns the version with the endpoint that it names itself.
func (c *Credential) own() *Credential {
	if c.asFetched != nil {
		return c.asFetched
	}
	return c
}

// at returns the version as it is to be offered at e. What the database elsewhere said
// of it says nothing there.
func (c *Credential) at(e Endpoint) *Credential {
	switch own := c.own(); {
	case c.Endpoint == e:
		return c
	case own.Endpoint == e:
		return own
	default:
		there := *own
		there.Endpoint, there.asFetched, there.refused = e, own, new(atomic.Int64)
		return &there
	}
}

// IsEmpty reports whether there is no password.
func (c *Credential) IsEmpty() bool { return c.reveal() == "" }

// WithUsername returns a new credential of another user name and the password of c.
func (c *Credential) WithUsername(username string) *Credential {
	return NewCredential(username, c.reveal())
}

// Expired reports whether the credential has expired at now. It compares wall
// clocks, so that a machine that slept notices.
func (c *Credential) Expired(now time.Time) bool {
	return !c.Expires.IsZero() && !now.Round(0).Before(c.Expires.Round(0))
}

// RejectedSince returns an error if the database has refused the credential in another
// login since this one began. A login asks just before it offers the credential, and
// returns the error as it is: [Cache.Login] goes on as if the database had refused
// it once more.
func (c *Credential) RejectedSince(since time.Time) error {
	if c.refused != nil && c.refused.Load() > since.UnixNano() {
		return errRejectedElsewhere
	}
	return nil
}

var errRejectedElsewhere = errors.New("the database has refused the credential meanwhile")

func (c *Credential) noteRefusal() {
	if c.refused != nil {
		c.refused.Store(time.Now().UnixNano())
	}
}

// ShortVersion is the first 8 characters of the version id, for metrics and logs.
func (c *Credential) ShortVersion() string {
	return strings.ToValidUTF8(c.VersionID[:min(8, len(c.VersionID))], "")
}

// String shows the user and the version, never the password.
func (c Credential) String() string {
	return fmt.Sprintf("credential(user %q, version %q, password redacted)", c.Username, c.VersionID)
}

// GoString is String: %#v shows no more than %v.
func (c Credential) GoString() string { return c.String() }

// Format prints String for every verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// MarshalText is String.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MarshalJSON is String as a JSON string.
func (c Credential) MarshalJSON() ([]byte, error) { return json.Marshal(c.String()) }

// localKey makes version ids of this process meaningless outside it.
var localKey = sync.OnceValue(func() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand
	return key
})

// UseLocalVersion gives a credential a version id whose source has none (a file, the
// environment). The same user name and password give the same id for the life of the
// process; the id cannot be used to guess the password.
func (c *Credential) UseLocalVersion() {
	h := hmac.New(sha256.New, localKey())
	fmt.Fprintf(h, "%d:%s%s", len(c.Username), c.Username, c.reveal())
	c.VersionID = hex.EncodeToString(h.Sum(nil)[:16])
}
