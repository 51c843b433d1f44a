package mysql

import (
	"context"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

// Discard returns the statements after which no other password than that of current lets its
// user in: none where the server keeps no second one.
func (s *Session) Discard(ctx context.Context, current *secrets.Credential) ([]account.Statement, error) {
	own := s.user.name == current.Username
	switch {
	case !s.mariadb && !s.retains():
		return nil, nil
	case !s.mariadb && own:
		return []account.Statement{say("ALTER USER USER() DISCARD OLD PASSWORD")}, nil
	}
	rights, err := s.rights(ctx)
	if err != nil {
		return nil, err
	}
	p := &planner{Session: s, change: account.Change{New: current}, rights: rights}
	var found []entry
	switch {
	case !own:
		if err := p.checkMaster(); err != nil {
			return nil, err
		}
		found, err = s.entries(ctx, current.Username)
	case rights.global("CREATE USER"): // else it never had two
		found, err = s.self(ctx)
	}
	if err != nil {
		return nil, err
	}
	var all []account.Statement
	for _, e := range found {
		switch {
		case s.mariadb && len(e.slots) > 1:
			one, err := p.setMariaDB(e.user, e.slots)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		case e.second:
			all = append(all, say("ALTER USER ", e.user.String(), " DISCARD OLD PASSWORD"))
		}
	}
	return all, nil
}
