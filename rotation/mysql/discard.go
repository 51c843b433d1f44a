package mysql

import (
	"context"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

// Discard implements [account.Discarder]. It returns nothing where the server keeps no second
// password.
func (s *Session) Discard(ctx context.Context, current *secrets.Credential) ([]account.Statement, error) {
	if !s.mariadb && !s.retains() {
		return nil, nil
	}
	rights, err := s.rights(ctx)
	if err != nil {
		return nil, err
	}
	p := &planner{Session: s, change: account.Change{New: current}, rights: rights}
	var found []entry
	switch own := s.user.name == current.Username; {
	case !own:
		if err := p.checkMaster(); err != nil {
			return nil, err
		}
		found, err = s.entries(ctx, current.Username)
	case s.mariadb && rights.global("CREATE USER"): // else it never had two
		found, err = s.self(ctx)
	case !s.mariadb && p.manages():
		return p.discardOwn()
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
		case e.second != "":
			all = append(all, e.discard())
		}
	}
	return all, nil
}

// discardOwn returns the statements for the session's own user in MySQL. The password that
// logged in may be the second of two, after a rollback or a rotation that was given up, so it
// is made the first one. Where the account's history of passwords does not let it, nothing is
// discarded.
func (p *planner) discardOwn() ([]account.Statement, error) {
	current, err := p.clear(p.change.New)
	if err != nil {
		return nil, err
	}
	first := new(phrase).add("ALTER USER USER() IDENTIFIED BY ").addSecret(current).statement()
	first.Last = []string{errHistory}
	return []account.Statement{first, say("ALTER USER USER() DISCARD OLD PASSWORD")}, nil
}
