package secrets

import (
	"context"
	"time"
)

// otherUserPatience is how long a login waits for the source to name another user. The
// database's answer is known by then; what the source says later serves the next login.
const otherUserPatience = 2 * time.Second

// otherUser reports, after the database refused a user for what another might not be
// refused for, whether AWSCURRENT names another user by now, who comes first then. A
// login looks once, and all of them together once in lookAgain.
func (l *login) otherUser(ctx context.Context) bool {
	if l.userRefused == nil || l.lookedForUser || l.userRefused.Kind() == Token { // tokens have one user
		return false
	}
	l.lookedForUser = true
	ctx, cancel := context.WithTimeout(ctx, otherUserPatience)
	defer cancel()
	found, err := l.cache.look(ctx, Current, l.cache.lookForUser(), ReasonUserRefused)
	return err == nil && found.err == nil && l.cache.preferUser(found.cred, l.userRefused)
}

// lookForUser returns the moment that a look for another user is to tell of.
func (c *Cache) lookForUser() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.lookedForUser) >= lookAgain {
		c.lookedForUser = now
	}
	return c.lookedForUser
}

// preferUser has logins offer current first, if its user is another than that of refused,
// and reports whether that is worth a try.
func (c *Cache) preferUser(current, refused *Credential) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if current.Username == refused.Username || c.isRefused(current) && !c.refused[current.VersionID].again {
		return false
	}
	if c.preferred != current {
		c.preferred, c.trustUntil = current, time.Time{}
	}
	return true
}
