package secrets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// shelf is a source with labels whose versions differ in user and endpoint, too.
type shelf struct {
	mu       sync.Mutex
	labels   map[Stage]string
	versions map[string]version
	looks    atomic.Int64
}

type version struct {
	user string
	at   Endpoint
	bad  bool // no document
}

func (s *shelf) Kind() string { return "test" }

func (s *shelf) Describe(context.Context) (Labels, error) {
	s.looks.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return Labels{Versions: maps.Clone(s.labels)}, nil
}

func (s *shelf) FetchVersion(_ context.Context, id string) (*Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.versions[id]
	if !ok {
		return nil, Errorf(NoVersion, "no version %s", id)
	}
	if v.bad {
		return nil, Errorf(Malformed, "version %s is no document", id)
	}
	c := NewCredential(v.user, id)
	c.VersionID, c.Endpoint = id, v.at
	return c, nil
}

func (s *shelf) Fetch(ctx context.Context, stage Stage) (*Credential, error) {
	s.mu.Lock()
	id := s.labels[stage]
	s.mu.Unlock()
	return s.FetchVersion(ctx, id)
}

// unlabelled hides that a shelf can tell labels apart from values.
type unlabelled struct{ Source }

func (s *shelf) put(labels map[Stage]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.labels = labels
}

// places are databases, by host, each with the versions that it takes.
type places struct {
	mu      sync.Mutex
	takes   map[string][]string
	offered []string
}

var errNoHost = errors.New("names no host")

func (p *places) try(_ context.Context, c *Credential) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.Endpoint.Host == "" {
		return MarkWrongEndpoint(errNoHost)
	}
	p.offered = append(p.offered, c.VersionID+"@"+c.Endpoint.Host+"/"+c.Endpoint.Database)
	for _, id := range p.takes[c.Endpoint.Host] {
		if id == c.VersionID {
			return nil
		}
	}
	return MarkRejected(errPassword)
}

func (p *places) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.offered
	p.offered = nil
	return fmt.Sprint(o)
}

func at(host string) Endpoint { return Endpoint{Host: host, Port: 5432, Database: "d" + host} }

// TestWhereTheDatabaseIsAWSCURRENTSays has versions that name different databases. Only
// AWSCURRENT's is logged in to, whichever version is taken there, with what is in memory
// and with nothing.
func TestWhereTheDatabaseIsAWSCURRENTSays(t *testing.T) {
	labels := map[Stage]string{Current: "v2", Previous: "v1"}
	tests := []struct {
		name     string
		versions map[string]version
		labels   map[Stage]string
		takes    map[string][]string // after the change
		warm     string              // offered, where v1 at A was accepted before
		cold     string              // and where nothing is known
		err      error
	}{
		{
			"a wrong password at a new place, the old one good at the old place",
			map[string]version{"v1": {at: at("A")}, "v2": {at: at("B")}}, labels, map[string][]string{"A": {"v1"}},
			"[v2@B/dB v1@B/dB]", "[v2@B/dB v1@B/dB]", errPassword,
		},
		{
			"the old password at the new place",
			map[string]version{"v1": {at: at("A")}, "v2": {at: at("B")}}, labels, map[string][]string{"B": {"v1"}},
			"[v2@B/dB v1@B/dB]", "[v2@B/dB v1@B/dB]", nil,
		},
		{
			"a version before that names no place",
			map[string]version{"v1": {}, "v2": {at: at("B")}}, labels, map[string][]string{},
			"[v2@B/dB v1@B/dB]", "[v2@B/dB v1@B/dB]", errPassword,
		},
		{
			"a pending version that names another place",
			map[string]version{"v1": {at: at("A")}, "v2": {at: at("B")}},
			map[Stage]string{Current: "v1", Pending: "v2"}, map[string][]string{"A": {"v2"}, "B": {"v1", "v2"}},
			"[v1@A/dA v2@A/dA]", "[v1@A/dA v2@A/dA]", nil,
		},
		{
			"a current version that is no document, where none was known",
			map[string]version{"v1": {at: at("A")}, "v2": {bad: true}}, labels, map[string][]string{"A": {"v1"}},
			"[v1@A/dA]", "[]", errors.New("malformed"),
		},
	}
	for _, tt := range tests {
		for _, described := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.name, " ", described), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					src, db := &shelf{versions: tt.versions, labels: tt.labels}, &places{takes: tt.takes}
					open := func() *Cache {
						if described {
							return New(src, Options{})
						}
						return New(unlabelled{src}, Options{})
					}
					check := func(c *Cache, want string, wantErr error) {
						t.Helper()
						err := c.Login(t.Context(), db.try)
						if got := db.take(); got != want {
							t.Errorf("offered %s, want %s", got, want)
						}
						if (err == nil) != (wantErr == nil) || wantErr == errPassword && !errors.Is(err, errPassword) || wantErr != nil && ReasonOf(err) == Malformed == IsRejected(err) {
							t.Errorf("login: %v, want %v", err, wantErr)
						}
					}
					cold := open()
					defer cold.Close()
					check(cold, tt.cold, tt.err)

					src.put(current("v1"))
					db.takes = map[string][]string{"A": {"v1"}}
					warm := open()
					defer warm.Close()
					if tt.versions["v1"].at.Host == "" {
						return
					}
					check(warm, "[v1@A/dA]", nil)
					src.put(tt.labels)
					db.takes = tt.takes
					time.Sleep(2 * lookAgain)
					if _, err := warm.look(t.Context(), Current, time.Now(), ReasonChanged); err != nil {
						t.Fatal(err)
					}
					if tt.versions["v2"].bad { // what is known counts on
						check(warm, tt.warm, nil)
						return
					}
					check(warm, tt.warm, tt.err)
				})
			})
		}
	}
}

// TestAVersionIsTheSameCredentialUnderEachLabel keeps what is derived from a version
// through a rotation, and through one that is rolled back to another place.
func TestAVersionIsTheSameCredentialUnderEachLabel(t *testing.T) {
	src := &shelf{versions: map[string]version{"v1": {at: at("A")}, "v2": {at: at("A")}, "v3": {at: at("B")}}}
	c := New(src, Options{})
	defer c.Close()
	under := func(stage Stage, labels map[Stage]string) *Credential {
		t.Helper()
		src.put(labels)
		l, err := c.look(t.Context(), stage, time.Now(), ReasonChanged)
		if err != nil || l.err != nil {
			t.Fatal(err, l)
		}
		return l.cred
	}
	v1 := under(Current, current("v1"))
	if err := c.Login(t.Context(), func(context.Context, *Credential) error { return nil }); err != nil {
		t.Fatal(err)
	}
	v2 := under(Pending, map[Stage]string{Current: "v1", Pending: "v2"})
	if got := under(Current, map[Stage]string{Current: "v2", Previous: "v1"}); got != v2 {
		t.Error("a promoted version is another credential")
	}
	if got := under(Previous, map[Stage]string{Current: "v2", Previous: "v1"}); got != v1 {
		t.Error("a version that is AWSPREVIOUS now is another credential")
	}
	v3 := under(Current, map[Stage]string{Current: "v3", Previous: "v2"})
	v2B := under(Previous, map[Stage]string{Current: "v3", Previous: "v2"})
	if v3.Endpoint != at("B") || v2B.Endpoint != at("B") || v2B == v2 || under(Previous, map[Stage]string{Current: "v3", Previous: "v2"}) != v2B {
		t.Errorf("at another place: %+v, %+v", v3.Endpoint, v2B.Endpoint)
	}
	if got := under(Current, map[Stage]string{Current: "v2", Previous: "v3"}); got != v2 {
		t.Errorf("rolled back: %v at %+v", got, got.Endpoint)
	}
}

// TestARefusalOutranksWhatCouldNotBeTried has the database refuse one version, and another
// lead nowhere.
func TestARefusalOutranksWhatCouldNotBeTried(t *testing.T) {
	src := &labelled{labels: map[Stage]string{Current: "v2", Previous: "v1"}}
	c := New(src, Options{})
	defer c.Close()
	err := c.Login(t.Context(), func(_ context.Context, cred *Credential) error {
		if cred.VersionID == "v1" {
			return MarkWrongEndpoint(errNoHost)
		}
		return MarkRejected(errPassword)
	})
	if !errors.Is(err, errPassword) {
		t.Errorf("login: %v", err)
	}
}

// TestBreakGlassFollowsTheDatabase has the emergency credential name no place, and the
// secret another one in the course of the emergency.
func TestBreakGlassFollowsTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &shelf{labels: current("v1"), versions: map[string]version{"v1": {at: at("A")}, "v2": {at: at("B")}}}
		db := &places{}
		c := New(src, Options{})
		defer c.Close()
		cred := emergencyCredential("by hand")
		c.BreakGlass(cred, time.Hour)
		db.takes = map[string][]string{"A": {cred.VersionID}, "B": {cred.VersionID}}
		for _, labels := range []map[Stage]string{current("v1"), {Current: "v2", Previous: "v1"}} {
			src.put(labels)
			if l := c.fetch(Current, time.Time{}, ReasonChanged); l.err != nil {
				t.Fatal(l.err)
			}
			for range 3 {
				if err := c.Login(t.Context(), db.try); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(time.Minute)
		}
		a, b := cred.VersionID+"@A/dA", cred.VersionID+"@B/dB"
		if got := db.take(); got != fmt.Sprint([]string{a, a, a, b, b, b}) {
			t.Errorf("offered %s", got)
		}
		named := emergencyCredential("elsewhere")
		named.Endpoint = at("C")
		c.BreakGlass(named, time.Hour)
		db.takes["C"] = []string{named.VersionID}
		if err := c.Login(t.Context(), db.try); err != nil || db.take() != "["+named.VersionID+"@C/dC]" {
			t.Errorf("an emergency credential that names its place: %v", err)
		}
	})
}
