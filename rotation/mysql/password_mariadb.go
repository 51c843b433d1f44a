package mysql

import (
	"context"
	"fmt"
	"slices"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

// keptPlugins are those of MariaDB that have no password of the account, and stay beside one.
var keptPlugins = []string{"unix_socket", "pam", "gssapi"}

// ownMariaDB changes the password of the session's own user in MariaDB. Without CREATE USER
// it has SET PASSWORD alone, which changes the first way of logging in.
func (p *planner) ownMariaDB(ctx context.Context) ([]account.Statement, error) {
	self, err := p.self(ctx)
	if err != nil {
		return nil, err
	}
	slots := self[0].slots
	if p.rights.global("CREATE USER") {
		if err := p.checkValidation(ctx); err != nil {
			return nil, err
		}
		return p.setMariaDB(p.user, slots)
	}
	if err := p.checkPlugin(entry{user: p.user, slots: slots}); err != nil {
		return nil, err
	}
	if len(slots) > 1 {
		return nil, &account.Obstacle{Message: fmt.Sprintf("%s has more than one way to log in, and may change the first alone", p.user),
			Hint: "Set MASTER_SECRET (masterarn in the secret) to the secret of a user with CREATE USER, or leave the account one password."}
	}
	if err := p.checkValidation(ctx); err != nil {
		return nil, err
	}
	hash, err := p.hash(p.change.New, slots[0].Plugin)
	if err != nil {
		return nil, err
	}
	return []account.Statement{new(phrase).add("SET PASSWORD = ").addSecret(hash).statement()}, nil
}

// self returns how the session's own user logs in to MariaDB, as the one entry.
func (s *Session) self(ctx context.Context) ([]entry, error) {
	text, err := s.texts(ctx, "its own account", "SHOW CREATE USER CURRENT_USER()")
	if err != nil {
		return nil, err
	}
	if len(text) != 1 {
		return nil, fault.ErrAnswer("no account", nil)
	}
	slots, err := parseSlots(text[0])
	return []entry{{user: s.user, slots: slots}}, err
}

// checkValidation says whether the server takes hashes of passwords, which it does not if
// plugins are to judge all of them.
func (s *Session) checkValidation(ctx context.Context) error {
	rows, err := s.Query(ctx, "SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_TYPE LIKE 'PASSWORD VALIDATION%' AND PLUGIN_STATUS = 'ACTIVE' AND @@global.strict_password_validation")
	if err != nil || len(rows) == 0 {
		return err
	}
	return &account.Obstacle{Message: fmt.Sprintf("the plugin %s judges passwords, and the server therefore takes no hashes (strict_password_validation); in clear text its logs would show them", rows[0][0]),
		Hint: "SET GLOBAL strict_password_validation = OFF, or uninstall the plugin."}
}

// parseSlots reads the ways of logging in from MariaDB's SHOW CREATE USER.
func parseSlots(text string) ([]slot, error) {
	s := scan(text)
	s.expect("CREATE", "USER")
	s.account()
	var slots []slot
	switch {
	case s.accept("IDENTIFIED", "BY", "PASSWORD"):
		slots = []slot{{passwordPlugins[true][0], s.text()}}
	case s.accept("IDENTIFIED", "VIA"):
		for more := true; more && s.err == nil; more = s.accept("OR") {
			one := slot{Plugin: s.next().text}
			if s.accept("USING") {
				one.Auth = s.text()
			}
			slots = append(slots, one)
		}
	default:
		slots = []slot{{passwordPlugins[true][0], ""}}
	}
	if s.err != nil {
		return nil, fmt.Errorf("SHOW CREATE USER: an account that %w", s.err)
	}
	return slots, nil
}

// text takes what stands in quotes.
func (s *scanner) text() string {
	t := s.next()
	if !t.quoted {
		s.fail()
	}
	return t.text
}

// setMariaDB changes the password of an account that logs in by the slots given. (It is
// named in full, because MariaDB 10.11 takes but one slot for CURRENT_USER().)
func (p *planner) setMariaDB(u user, slots []slot) ([]account.Statement, error) {
	s := new(phrase).add("ALTER USER ", u.String())
	if err := p.identify(s, u, slots); err != nil {
		return nil, err
	}
	return []account.Statement{s.statement()}, nil
}

// identify adds how an account logs in: by the plugins of the slots, with the new password,
// and, if it is to be retained, the current one.
func (p *planner) identify(s *phrase, u user, slots []slot) error {
	if err := p.checkPlugin(entry{user: u, slots: slots}); err != nil {
		return err
	}
	separator := " IDENTIFIED VIA "
	one := func(plugin string, cred *secrets.Credential, auth string) error {
		s.add(separator, plugin)
		separator = " OR "
		switch {
		case cred != nil:
			hash, err := p.hash(cred, plugin)
			if err != nil {
				return err
			}
			s.add(" USING ").addSecret(hash)
		case auth != "":
			s.add(" USING ").addSecret(auth)
		}
		return nil
	}
	var changed []string
	for _, way := range slots {
		switch {
		case slices.Contains(keptPlugins, way.Plugin):
			_ = one(way.Plugin, nil, way.Auth) // has no hash to make
		case !slices.Contains(passwordPlugins[true], way.Plugin):
			return p.checkPlugin(entry{user: u, slots: []slot{way}})
		case !slices.Contains(changed, way.Plugin):
			changed = append(changed, way.Plugin)
			if err := one(way.Plugin, p.change.New, ""); err != nil {
				return err
			}
		}
	}
	if !p.change.Retain || p.change.Like != "" || p.current == nil {
		return nil
	}
	for _, plugin := range changed {
		if err := one(plugin, p.current, ""); err != nil {
			return err
		}
	}
	return nil
}
