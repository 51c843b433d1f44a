package daemon

import (
	"github.com/credproxy/credproxy/admin"
	"github.com/credproxy/credproxy/secrets"
)

// retireSessions has sessions of another credential than e leaves in force close. A new
// token is no other credential.
func (db *database) retireSessions(e secrets.Event) {
	switch e.Kind {
	case secrets.Rotated:
		if e.Credential != nil && e.Credential.Kind() == secrets.Token {
			return
		}
	case secrets.EmergencyBegan, secrets.EmergencyEnded:
	default:
		return
	}
	db.retirePool()
}

// retirePool has all sessions that are kept close, those in use at their return.
func (db *database) retirePool() {
	if db.pool != nil {
		db.pool.Retire()
	}
}

// poolStatus says how the pool does, nil if there is none.
func (db *database) poolStatus() *admin.Pool {
	if db.pool == nil {
		return nil
	}
	s := db.observer.PoolState()
	return &admin.Pool{Idle: s.Idle, InUse: s.InUse, Waiting: s.Waiting, Opened: s.Opened, Reused: s.Reused, Closed: s.Closed}
}

// closePool closes the sessions that are kept; from then on none are.
func (db *database) closePool() {
	if db.pool != nil {
		db.pool.Close()
	}
}
