package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/credproxy/credproxy/rotation/account"
)

// alike makes the account of the new credential like another, at each host of that.
func (p *planner) alike(ctx context.Context) (statements []account.Statement, err error) {
	if p.mariadb {
		if err := p.checkValidation(ctx); err != nil {
			return nil, err
		}
	}
	known, err := p.known(ctx)
	if err != nil {
		return nil, err
	}
	found, err := p.entries(ctx, p.change.Like, p.change.New.Username)
	if err != nil {
		return nil, err
	}
	have := map[string]*entry{}
	var hosts []string
	for i, e := range found {
		if e.name == p.change.Like {
			hosts = append(hosts, e.host)
		} else {
			have[e.host] = &found[i]
		}
	}
	if len(hosts) == 0 {
		return nil, p.missing(p.change.Like)
	}
	for i := range found {
		if found[i].name != p.change.Like {
			continue
		}
		one, err := p.alikeAt(ctx, have[found[i].host], &found[i], known)
		if err != nil {
			return nil, err
		}
		statements = append(statements, one...)
	}
	for _, host := range sorted(have) {
		if slices.Contains(hosts, host) {
			continue
		}
		drop, err := p.drop(ctx, have[host].user)
		if err != nil {
			return nil, err
		}
		statements = append(statements, drop)
	}
	return statements, nil
}

// known returns the names of the server's privileges.
func (s *Session) known(ctx context.Context) ([]string, error) {
	names, err := s.texts(ctx, "the privileges", "SHOW PRIVILEGES")
	for i, name := range names {
		names[i] = strings.ToUpper(name)
	}
	return slices.DeleteFunc(names, func(n string) bool {
		return isDynamic(n) || n == "USAGE" || n == "PROXY" || n == "GRANT OPTION"
	}), err
}

func (s *Session) grantsOf(ctx context.Context, u user) (*grants, error) {
	lines, err := s.texts(ctx, "the rights of "+u.String(), "SHOW GRANTS FOR "+u.String())
	if err != nil {
		return nil, err
	}
	return parseGrants(lines, &u)
}

// alikeAt makes have, nil if there is none, like want at the same host.
func (p *planner) alikeAt(ctx context.Context, have, want *entry, known []string) ([]account.Statement, error) {
	to := user{p.change.New.Username, want.host}
	d := &difference{server: p.server, to: to, have: newGrants(), known: known}
	var err error
	if d.want, err = p.grantsOf(ctx, want.user); err != nil {
		return nil, err
	}
	for on, names := range d.want.without {
		if names[grantOption] {
			return nil, &account.Obstacle{Message: fmt.Sprintf("%s may not grant to others ON %s what it may elsewhere, and MySQL does not tell of all such exceptions", want.user, on),
				Hint: fmt.Sprintf("REVOKE GRANT OPTION ON *.* FROM %s, and grant it where it is needed.", want.user)}
		}
	}
	if have != nil {
		if d.have, err = p.grantsOf(ctx, to); err != nil {
			return nil, err
		}
		if err := p.checkSystemUser(to, d.have); err != nil {
			return nil, err
		}
	}
	rights := d.statements()
	if err := p.checkSystemUser(want.user, d.want); err != nil {
		return nil, err
	}
	if err := p.checkGives(d.gives); err != nil {
		return nil, err
	}
	was := have
	if was == nil {
		fresh, err := p.fresh(to)
		if err != nil {
			return nil, err
		}
		was = &fresh
	}
	clauses, err := was.changed(want)
	if err != nil {
		return nil, err
	}
	password, err := p.password(have, want, to, clauses)
	if err != nil {
		return nil, err
	}
	var statements []account.Statement
	if have == nil {
		statements = append(statements, password...)
	} else if len(clauses) > 0 {
		statements = append(statements, say("ALTER USER ", to.String(), " ", strings.Join(clauses, " ")))
	}
	statements = append(statements, rights...)
	if roles, err := p.defaultRoles(have, want, to); err != nil {
		return nil, err
	} else if roles != nil {
		statements = append(statements, *roles)
	}
	if have != nil {
		statements = append(statements, password...)
	}
	return statements, nil
}

// password makes the statements that give the account its password: the first of all if it
// is not there yet, and else the last.
func (p *planner) password(have, want *entry, to user, clauses []string) ([]account.Statement, error) {
	s := new(phrase)
	if have == nil {
		s.add("CREATE USER ", to.String())
	} else {
		s.add("ALTER USER ", to.String())
	}
	if p.mariadb {
		if err := p.identify(s, want.user, want.slots); err != nil {
			return nil, err
		}
	} else {
		if err := p.checkPlugin(*want); err != nil {
			return nil, err
		}
		fresh, err := p.clear(p.change.New)
		if err != nil {
			return nil, err
		}
		s.add(" IDENTIFIED WITH ", quote(want.slots[0].Plugin), " BY ").addSecret(fresh)
	}
	if have == nil {
		for _, clause := range clauses {
			s.add(" ", clause)
		}
		return []account.Statement{s.statement()}, nil
	}
	statements := []account.Statement{s.statement(errHistory)} // it has it already
	if have.second != "" {
		statements = append(statements, have.discard())
	}
	return statements, nil
}

// defaultRoles returns the statement that makes the default roles the same, nil for none.
func (p *planner) defaultRoles(have, want *entry, to user) (*account.Statement, error) {
	var had []user
	if have != nil {
		had = have.defaultRoles
	}
	if slices.Equal(had, want.defaultRoles) {
		return nil, nil
	}
	roles := "NONE"
	if len(want.defaultRoles) > 0 {
		names := make([]string, len(want.defaultRoles))
		for i, r := range want.defaultRoles {
			names[i] = r.role()
		}
		roles = strings.Join(names, ", ")
	}
	s := say("ALTER USER ", to.String(), " DEFAULT ROLE ", roles)
	if p.mariadb {
		if !p.rights.may(need{privilege: "UPDATE", on: "`mysql`.*"}, false) {
			return nil, &account.Obstacle{Message: fmt.Sprintf("%s may not set default roles of %s", p.user, to),
				Hint: fmt.Sprintf("GRANT UPDATE ON mysql.* TO %s.", p.user)}
		}
		s = say("SET DEFAULT ROLE ", roles, " FOR ", to.String())
	}
	return &s, nil
}

// drop drops an account at a host where the other one has none.
func (p *planner) drop(ctx context.Context, u user) (account.Statement, error) {
	rows, err := p.read(ctx, "what accounts define", fmt.Sprintf(`SELECT CONCAT('view ', TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.VIEWS WHERE DEFINER = %[1]s
 UNION ALL SELECT CONCAT('routine ', ROUTINE_SCHEMA, '.', ROUTINE_NAME) FROM information_schema.ROUTINES WHERE DEFINER = %[1]s
 UNION ALL SELECT CONCAT('trigger ', TRIGGER_SCHEMA, '.', TRIGGER_NAME) FROM information_schema.TRIGGERS WHERE DEFINER = %[1]s
 UNION ALL SELECT CONCAT('event ', EVENT_SCHEMA, '.', EVENT_NAME) FROM information_schema.EVENTS WHERE DEFINER = %[1]s LIMIT 1`, quote(u.name+"@"+u.host)))
	if err != nil {
		return account.Statement{}, err
	}
	if len(rows) > 0 {
		return account.Statement{}, &account.Obstacle{
			Message: fmt.Sprintf("%s is to go, because %s has no account at that host, and it is the definer of the %s", u, quote(p.change.Like), rows[0][0]),
			Hint:    fmt.Sprintf("Create %s, or give what %s defines another definer.", user{p.change.Like, u.host}, u)}
	}
	return say("DROP USER ", u.String()), nil
}
