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
			one, err := p.discardOther(e)
			if err != nil {
				return nil, err
			}
			all = append(all, one...)
		}
	}
	return all, nil
}

// discardOwn returns the statements for the session's own user in MySQL. The password that
// logged in may be the second of two, after a rollback or a rotation that was given up, so it
// is made the first one. Where the account's history of passwords does not let it, nothing is
// discarded.
func (p *planner) discardOwn() ([]account.Statement, error) {
	first, err := p.makeFirst("USER()")
	return []account.Statement{first, say("ALTER USER USER() DISCARD OLD PASSWORD")}, err
}

// discardOther is discardOwn for an account of another user, whose hashes tell which of two
// passwords the one that stays is.
func (p *planner) discardOther(e entry) (statements []account.Statement, err error) {
	plugin := e.slots[0].Plugin
	is, err := p.keeps(p.change.New, plugin, e.slots[0].Auth)
	if err != nil || is {
		return []account.Statement{e.discard()}, err
	}
	if is, err = p.keeps(p.change.New, plugin, e.second); err != nil || !is {
		return nil, err
	}
	first, err := p.makeFirst(e.user.String())
	return []account.Statement{first, e.discard()}, err
}

func (p *planner) makeFirst(name string) (s account.Statement, err error) {
	current, err := p.clear(p.change.New)
	if err != nil {
		return s, err
	}
	s = new(phrase).add("ALTER USER ", name, " IDENTIFIED BY ").addSecret(current).statement()
	s.Last = []string{errHistory}
	return s, nil
}
