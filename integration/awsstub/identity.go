package awsstub

import (
	"crypto/rand"
	"strings"
	"sync"
	"time"
)

// The roles behind the container endpoint and the metadata service. AddRole with one of these ARNs changes the
// lifetime or permissions of what those endpoints hand out.
const (
	TaskRole     = "arn:aws:iam::" + AccountID + ":role/credproxy-task"
	InstanceRole = "arn:aws:iam::" + AccountID + ":role/credproxy-instance"
)

// expiredKept is how long an expired key is still known, and so refused as expired rather than as unknown.
const expiredKept = time.Hour

// Identity is a principal with an access key.
type Identity struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string    // "" for a long-term key
	ARN             string    // default arn:aws:iam::123456789012:user/credproxy
	Expires         time.Time // zero: never
	// Allow stands for the principal's policies: action such as secretsmanager:GetSecretValue, resource an ARN where
	// there is one. nil allows everything.
	Allow func(action, resource string) bool

	userID string
}

// Role can be assumed, or is handed out by an endpoint.
type Role struct {
	ARN              string
	ExternalID       string        // demanded by AssumeRole unless ""
	Trusts           []string      // ARNs of the principals that may assume it; nil: any
	WebIdentityToken string        // the only token AssumeRoleWithWebIdentity accepts; "": none
	Lifetime         time.Duration // of the credentials handed out, whatever was asked for; 0: as asked; below 0: already expired
	Allow            func(action, resource string) bool
}

func (r Role) name() string { return r.ARN[strings.LastIndexByte(r.ARN, '/')+1:] }

// principals knows every access key and role. A key handed out stays known until expiredKept after its expiry.
type principals struct {
	mu      sync.Mutex
	primary string // access key id of the first long-term identity
	keys    map[string]Identity
	roles   map[string]Role
}

func newPrincipals(ids []Identity, roles []Role) *principals {
	p := &principals{keys: make(map[string]Identity), roles: make(map[string]Role)}
	if len(ids) == 0 {
		ids = []Identity{{AccessKeyID: "AKIA" + randomText(16), SecretAccessKey: randomText(40)}}
	}
	p.primary = ids[0].AccessKeyID
	for _, id := range ids {
		p.addIdentity(id)
	}
	for _, r := range append([]Role{{ARN: TaskRole}, {ARN: InstanceRole}}, roles...) {
		p.addRole(r)
	}
	return p
}

func (p *principals) addIdentity(id Identity) {
	if id.ARN == "" {
		id.ARN = "arn:aws:iam::" + AccountID + ":user/credproxy"
	}
	if id.userID == "" {
		id.userID = "AIDA" + randomText(17)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[id.AccessKeyID] = id
}

func (p *principals) addRole(r Role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roles[r.ARN] = r
}

func (p *principals) first() Identity {
	id, _ := p.identity(p.primary)
	return id
}

func (p *principals) identity(accessKeyID string) (Identity, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id, ok := p.keys[accessKeyID]
	return id, ok
}

func (p *principals) role(arn string) (Role, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.roles[arn]
	return r, ok
}

// issue makes temporary credentials for a session of r.
func (p *principals) issue(r Role, session string, lifetime time.Duration, now time.Time) Identity {
	if r.Lifetime != 0 {
		lifetime = r.Lifetime
	}
	id := Identity{
		AccessKeyID:     "ASIA" + randomText(16),
		SecretAccessKey: randomText(40),
		SessionToken:    "IQoJb3JpZ2luX2Vj" + randomText(300), // real ones begin so and are a few hundred bytes long
		ARN:             "arn:aws:sts::" + AccountID + ":assumed-role/" + r.name() + "/" + session,
		Expires:         now.Add(lifetime).UTC().Truncate(time.Second), // the wire has whole seconds
		Allow:           r.Allow,
		userID:          "AROA" + randomText(17) + ":" + session,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, old := range p.keys {
		if !old.Expires.IsZero() && now.Sub(old.Expires) > expiredKept {
			delete(p.keys, key)
		}
	}
	p.keys[id.AccessKeyID] = id
	return id
}

// AddIdentity adds a principal, or replaces the one with the same access key id.
func (s *Server) AddIdentity(id Identity) { s.principals.addIdentity(id) }

// AddRole adds a role, or replaces the one with the same ARN. Credentials it handed out before keep their terms.
func (s *Server) AddRole(r Role) { s.principals.addRole(r) }

// ExpireCredentials ends an access key now: calls signed with it are answered ExpiredTokenException.
func (s *Server) ExpireCredentials(accessKeyID string) {
	id, ok := s.principals.identity(accessKeyID)
	if !ok {
		panic("awsstub: no access key " + accessKeyID)
	}
	id.Expires = s.now()
	s.principals.addIdentity(id)
}

// expired is AWS's view: a key is dead from the moment of its expiry on.
func (id Identity) expired(now time.Time) bool {
	return !id.Expires.IsZero() && !now.Before(id.Expires)
}

// principal is the ARN of the user or the role behind the identity: a session's is that of its role.
func (id Identity) principal() string {
	session, ok := strings.CutPrefix(id.ARN, "arn:aws:sts::"+AccountID+":assumed-role/")
	if !ok {
		return id.ARN
	}
	role, _, _ := strings.Cut(session, "/")
	return "arn:aws:iam::" + AccountID + ":role/" + role
}

func (id Identity) allowed(action, resource string) error {
	if id.Allow == nil || id.Allow(action, resource) {
		return nil
	}
	return notAuthorized(id.ARN, action, resource)
}

// randomText returns n random letters and digits.
func randomText(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(rand.Text())
	}
	return b.String()[:n]
}
