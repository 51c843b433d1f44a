package mysql

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

// Plan implements [account.Session]. For a server that is a replica, or otherwise read
// only, there is no plan.
//
// The password of the session's own user is changed at the host alone by which the server
// knows it, anybody else's at each host that the user has.
func (s *Session) Plan(ctx context.Context, c account.Change) ([]account.Statement, error) {
	if err := s.checkName(c.New.Username); err != nil {
		return nil, err
	}
	if err := s.checkWritable(ctx); err != nil {
		return nil, err
	}
	rights, err := s.rights(ctx)
	if err != nil {
		return nil, err
	}
	p := &planner{Session: s, change: c, rights: rights}
	if c.Current != nil && c.Current != c.New && c.Current.Username == c.New.Username && !c.Current.IsEmpty() {
		p.current = c.Current
	}
	switch {
	case c.Like == "" && s.user.name == c.New.Username && s.mariadb:
		return p.ownMariaDB(ctx)
	case c.Like == "" && s.user.name == c.New.Username:
		return p.ownMySQL(ctx)
	}
	if err := p.checkMaster(); err != nil {
		return nil, err
	}
	if c.Like != "" {
		return p.alike(ctx)
	}
	return p.others(ctx)
}

// planner makes one plan.
type planner struct {
	*Session
	change  account.Change
	current *secrets.Credential // of the same user, and with a password; nil: none
	rights  *grants             // of the session's user
}

func (s *Session) checkName(name string) error {
	most, flavor := 32, "MySQL"
	if s.mariadb {
		most, flavor = 80, "MariaDB"
	}
	if n := utf8.RuneCountInString(name); n > most {
		return &account.Obstacle{Message: fmt.Sprintf("the user name %q has %d characters, and %s takes %d", name, n, flavor, most),
			Hint: "Take a shorter name for the user of the secret."}
	}
	return nil
}

// rights returns what the session's user may do, by roles too.
func (s *Session) rights(ctx context.Context) (*grants, error) {
	lines, err := s.texts(ctx, "its own rights", "SHOW GRANTS")
	if err != nil {
		return nil, err
	}
	return parseGrants(lines, nil)
}

func (p *planner) checkMaster() error {
	if p.rights.global("CREATE USER") {
		return nil
	}
	return &account.Obstacle{Message: fmt.Sprintf("%s lacks the right CREATE USER, without which it changes no other account", p.user),
		Hint: fmt.Sprintf("GRANT CREATE USER ON *.* TO %s, or name the secret of a user who has it.", p.user)}
}

// checkSystemUser says whether the session's user may change an account that has the rights
// given.
func (p *planner) checkSystemUser(u user, has *grants) error {
	if _, system := has.dynamic["SYSTEM_USER"]; !system || p.rights.global("SYSTEM_USER") {
		return nil
	}
	return &account.Obstacle{Message: fmt.Sprintf("%s has SYSTEM_USER, and %s has not", u, p.user),
		Hint: fmt.Sprintf("GRANT SYSTEM_USER ON *.* TO %s, or REVOKE SYSTEM_USER ON *.* FROM %s.", p.user, u)}
}

// missing is the obstacle of a user whom the server does not have.
func (p *planner) missing(name string) error {
	return &account.Obstacle{Message: fmt.Sprintf("the server has no user %s", quote(name)),
		Hint: "Check that secret and master secret are those of this server, and that the user was not dropped."}
}
