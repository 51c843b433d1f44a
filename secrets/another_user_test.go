package secrets

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errLocked = errors.New("the account is locked")

// locked is a database that takes passwords and refuses users.
type locked struct {
	mu      sync.Mutex
	users   map[string]bool // who are refused
	wrong   map[string]bool // versions whose password is wrong
	after   bool            // users are refused once the credential was taken
	offered map[string]int  // by user
}

func (d *locked) try(_ context.Context, c *Credential) error {
	time.Sleep(10 * time.Millisecond)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.offered == nil {
		d.offered = map[string]int{}
	}
	d.offered[c.Username]++
	switch {
	case d.wrong[c.VersionID]:
		return MarkRejected(errPassword)
	case d.users[c.Username] && d.after:
		return MarkAccepted(MarkUserRefused(errLocked))
	case d.users[c.Username]:
		return MarkUserRefused(errLocked)
	}
	return nil
}

// TestARefusedUserIsAReasonToLook has the secret name another user by now, of which
// nothing but the refusal of the first one tells.
func TestARefusedUserIsAReasonToLook(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			src := &shelf{labels: current("v1"), versions: map[string]version{"v1": {user: "app"}, "v2": {user: "app2"}}}
			db := &locked{users: map[string]bool{"app": true}, after: after}
			c := New(src, Options{Grace: 90 * time.Second})
			running(t, c)
			time.Sleep(time.Second)
			if err := c.Login(t.Context(), db.try); !errors.Is(err, errLocked) || IsRejected(err) {
				t.Errorf("with one user: %v", err)
			}
			time.Sleep(10 * time.Minute)
			src.put(map[Stage]string{Current: "v2", Previous: "v1"})
			clear(db.offered)
			looks := src.looks.Load()
			storm(t, c, 500, db.try)
			if n := src.looks.Load() - looks; n != 1 || db.offered["app"] > 500 || db.offered["app2"] != 500 {
				t.Errorf("refused after the credential %v: %d looks, offered %v", after, n, db.offered)
			}
			clear(db.offered)
			time.Sleep(time.Minute)
			storm(t, c, 500, db.try)
			if db.offered["app"] != 0 {
				t.Errorf("afterwards: offered %v", db.offered)
			}
		})
	}
}

// TestARefusedUserDoesNotWaitForASourceThatHangs: the database's answer is known, and a
// client must hear it.
func TestARefusedUserDoesNotWaitForASourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, db := &hanging{labelled: labelled{labels: current("v1")}}, &locked{users: map[string]bool{"app": true}}
		c := New(src, Options{})
		defer c.Close()
		if _, err := c.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		src.hangs.Store(true)
		began := time.Now()
		if err := c.Login(t.Context(), db.try); !errors.Is(err, errLocked) {
			t.Errorf("login: %v", err)
		}
		if took := time.Since(began); took > otherUserPatience+time.Second {
			t.Errorf("the client heard it after %v", took)
		}
	})
}

// TestRefusedUsersDoNotStormTheSource has clients log in for a minute whose user is
// refused for good.
func TestRefusedUsersDoNotStormTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &shelf{labels: current("v1"), versions: map[string]version{"v1": {user: "app"}}}
		db := &locked{users: map[string]bool{"app": true}}
		c := New(src, Options{Grace: 90 * time.Second})
		defer c.Close()
		end := time.Now().Add(time.Minute)
		var clients sync.WaitGroup
		for range 500 {
			clients.Go(func() {
				for time.Now().Before(end) {
					if err := c.Login(t.Context(), db.try); !errors.Is(err, errLocked) {
						t.Errorf("login: %v", err)
					}
					time.Sleep(time.Second)
				}
			})
		}
		clients.Wait()
		if n := src.looks.Load(); n > 1+int64(time.Minute/lookAgain) || n < 10 {
			t.Errorf("%d looks in a minute", n)
		}
	})
}

// TestAnotherUserWhoIsNoBetter has AWSCURRENT name another user whose password is wrong:
// the first one's refusal is told, at once, and one login in a while tries the other.
func TestAnotherUserWhoIsNoBetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &shelf{labels: current("v1"), versions: map[string]version{"v1": {user: "app"}, "v2": {user: "app2"}}}
		db := &locked{wrong: map[string]bool{"v2": true}, after: true}
		c := New(src, Options{})
		defer c.Close()
		storm(t, c, 1, db.try)
		time.Sleep(time.Minute)
		db.users = map[string]bool{"app": true}
		src.put(map[Stage]string{Current: "v2", Previous: "v1"})
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			began := time.Now()
			if err := c.Login(t.Context(), db.try); !errors.Is(err, errLocked) && !errors.Is(err, errPassword) || time.Since(began) > 100*time.Millisecond {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
		}
		if n := db.offered["app2"]; n < 1 || n > 4 {
			t.Errorf("the other user was offered %d times in a minute", n)
		}
		clear(db.wrong)
		time.Sleep(rejectedFor)
		storm(t, c, 20, db.try)
	})
}

// TestARefusalOfTheUserThatWasNotOffered has an attempt end that offered nothing, because
// the user was refused elsewhere.
func TestARefusalOfTheUserThatWasNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &shelf{labels: current("v1"), versions: map[string]version{"v1": {user: "app"}, "v2": {user: "app2"}}}
		db := &locked{}
		c := New(src, Options{})
		defer c.Close()
		storm(t, c, 1, db.try)
		time.Sleep(time.Minute)
		src.put(map[Stage]string{Current: "v2", Previous: "v1"})
		err := c.Login(t.Context(), func(ctx context.Context, cred *Credential) error {
			if cred.Username == "app" {
				return MarkNotSent(MarkUserRefused(errLocked))
			}
			return db.try(ctx, cred)
		})
		if err != nil || db.offered["app2"] != 1 {
			t.Errorf("offered %v: %v", db.offered, err)
		}
	})
}
