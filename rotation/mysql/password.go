package mysql

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"

	"filippo.io/edwards25519"
	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/rotation/account"
	"github.com/credproxy/credproxy/secrets"
)

// Errors of MySQL by which a password is not changed.
const (
	errHistory  = "3638" // ER_CREDENTIALS_CONTRADICT_TO_HISTORY: it has been this one
	errReplaced = "3891" // ER_INCORRECT_CURRENT_PASSWORD: it is not the first one that REPLACE names
)

// passwordPlugins are those with passwords that are changed here.
var passwordPlugins = map[bool][]string{
	false: {mysql.AUTH_CACHING_SHA2_PASSWORD, mysql.AUTH_SHA256_PASSWORD, mysql.AUTH_NATIVE_PASSWORD},
	true:  {mysql.AUTH_NATIVE_PASSWORD, ed25519},
}

const ed25519 = "ed25519" // on the server; clients call it client_ed25519

// ownMySQL changes the password of the session's own user in MySQL.
//
// Of two passwords the one that clients use may be the second, if an earlier rotation broke
// off after it had set another. RETAIN CURRENT PASSWORD would lose it; without RETAIN it
// stays. REPLACE finds out: it takes only the first. So with two statements it stays in either
// case, and the second does nothing if the first has done all.
func (p *planner) ownMySQL(ctx context.Context) ([]account.Statement, error) {
	fresh, err := p.clear(p.change.New)
	if err != nil {
		return nil, err
	}
	asked, err := p.mustReplace(ctx)
	if err != nil {
		return nil, err
	}
	var current string
	if p.current != nil {
		if current, err = p.clear(p.current); err != nil {
			return nil, err
		}
	}
	change := func() *phrase { return new(phrase).add("ALTER USER USER() IDENTIFIED BY ").addSecret(fresh) }
	replace := func() *phrase { return change().add(" REPLACE ").addSecret(current) }
	switch retain := p.retains() && p.change.Retain; {
	case asked && p.current == nil:
		return nil, &account.Obstacle{Message: fmt.Sprintf("%s may change its password only by naming the one it has, which is not known", p.user),
			Hint: fmt.Sprintf("ALTER USER %s PASSWORD REQUIRE CURRENT OPTIONAL.", p.user)}
	case retain && !p.manages():
		return nil, &account.Obstacle{Message: fmt.Sprintf("%s lacks the right by which it keeps its password beside a new one", p.user),
			Hint: fmt.Sprintf("GRANT APPLICATION_PASSWORD_ADMIN ON *.* TO %s; or set RETAIN_PASSWORD to false: logins then fail from the change of the password until clients have the new one.", p.user)}
	case retain && asked:
		return []account.Statement{replace().add(" RETAIN CURRENT PASSWORD").statement()}, nil
	case retain && p.current != nil:
		return []account.Statement{replace().add(" RETAIN CURRENT PASSWORD").statement(errReplaced), change().statement(errHistory)}, nil
	case retain:
		return []account.Statement{change().add(" RETAIN CURRENT PASSWORD").statement()}, nil
	}
	statements := []account.Statement{change().statement()}
	if asked {
		statements[0] = replace().statement()
	}
	if p.retains() && p.manages() {
		statements = append(statements, say("ALTER USER USER() DISCARD OLD PASSWORD"))
	}
	return statements, nil
}

// manages reports whether the session's own user may keep a second password, and discard it.
func (p *planner) manages() bool {
	return p.rights.global("CREATE USER") || p.rights.global("APPLICATION_PASSWORD_ADMIN")
}

// mustReplace reports whether the server wants the session's own user to name the password
// that it changes.
func (p *planner) mustReplace(ctx context.Context) (bool, error) {
	if !p.mysqlFrom(8, 0, 13) || p.rights.global("CREATE USER") {
		return false, nil
	}
	text, err := p.texts(ctx, "its own account", "SHOW CREATE USER CURRENT_USER()")
	if err != nil || len(text) != 1 {
		return false, err
	}
	switch requireCurrent(text[0]) {
	case "":
		return true, nil
	case "OPTIONAL":
		return false, nil
	}
	text, err = p.texts(ctx, "password_require_current", "SELECT @@global.password_require_current")
	return err == nil && len(text) == 1 && text[0] == "1", err
}

// requireCurrent returns the word after PASSWORD REQUIRE CURRENT in what SHOW CREATE USER
// says, if that goes on with DEFAULT or OPTIONAL.
func requireCurrent(text string) string {
	s := scan(text)
	for s.peek().text != "" || s.peek().quoted {
		if !s.accept("PASSWORD", "REQUIRE", "CURRENT") {
			s.next()
			continue
		}
		for _, word := range []string{"OPTIONAL", "DEFAULT"} {
			if s.accept(word) {
				return word
			}
		}
		return ""
	}
	return "DEFAULT"
}

// others changes the password of another account than the session's, wherever it is.
func (p *planner) others(ctx context.Context) (all []account.Statement, err error) {
	found, err := p.entries(ctx, p.change.New.Username)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, p.missing(p.change.New.Username)
	}
	for _, e := range found {
		if !p.mariadb {
			if err := p.checkTarget(ctx, e); err != nil {
				return nil, err
			}
		}
		statements, err := p.setOther(e)
		if err != nil {
			return nil, err
		}
		all = append(all, statements...)
	}
	return all, nil
}

// checkTarget says whether the session's user may change the account.
func (p *planner) checkTarget(ctx context.Context, e entry) error {
	has, err := p.grantsOf(ctx, e.user)
	if err != nil {
		return err
	}
	return p.checkSystemUser(e.user, has)
}

// setOther changes the password of one account. Of two passwords that MySQL keeps RETAIN
// CURRENT PASSWORD keeps the first; without it the second stays.
func (p *planner) setOther(e entry) ([]account.Statement, error) {
	if p.mariadb {
		return p.setMariaDB(e.user, e.slots)
	}
	if err := p.checkPlugin(e); err != nil {
		return nil, err
	}
	fresh, err := p.clear(p.change.New)
	if err != nil {
		return nil, err
	}
	set := new(phrase).add("ALTER USER ", e.user.String(), " IDENTIFIED BY ").addSecret(fresh)
	var is, current, second bool
	plugin := e.slots[0].Plugin
	if is, err = p.keeps(p.change.New, plugin, e.slots[0].Auth); err != nil {
		return nil, err
	}
	if current, err = p.keeps(p.current, plugin, e.slots[0].Auth); err != nil {
		return nil, err
	}
	if second, err = p.keeps(p.current, plugin, e.second); err != nil {
		return nil, err
	}
	var statements []account.Statement
	switch retain := p.retains() && p.change.Retain; {
	case is: // of an earlier try, which did not come to all hosts
	case retain && (current || !second):
		statements = append(statements, set.add(" RETAIN CURRENT PASSWORD").statement())
	default: // the second one stays
		statements = append(statements, set.statement())
	}
	if !p.change.Retain && e.second != "" {
		statements = append(statements, e.discard())
	}
	return statements, nil
}

// discard returns the statement by which MySQL forgets the second password.
func (e *entry) discard() account.Statement {
	return say("ALTER USER ", e.user.String(), " DISCARD OLD PASSWORD")
}

func (p *planner) checkPlugin(e entry) error {
	for _, s := range e.slots {
		if slices.Contains(passwordPlugins[p.mariadb], s.Plugin) {
			return nil
		}
	}
	return &account.Obstacle{Message: fmt.Sprintf("%s logs in by the plugin %s, with which credproxy changes no passwords", e.user, e.slots[0].Plugin),
		Hint: "Let it log in with caching_sha2_password, in MariaDB with ed25519 or mysql_native_password."}
}

// hash makes of the password what the plugin of MariaDB keeps.
func (s *Session) hash(cred *secrets.Credential, plugin string) (string, error) {
	return release(s, cred, secrets.StoredHash, func(password string) (string, error) {
		if plugin == ed25519 {
			return ed25519Key(password)
		}
		return mysql.EncodePasswordHex(mysql.NativePasswordHash([]byte(password))), nil
	})
}

// ed25519Key returns the public key that MariaDB's ed25519 keeps: of the password as the
// seed, of whatever length.
func ed25519Key(password string) (string, error) {
	h := sha512.Sum512([]byte(password))
	s, err := edwards25519.NewScalar().SetBytesWithClamping(h[:32])
	if err != nil {
		return "", err
	}
	return base64.RawStdEncoding.EncodeToString(new(edwards25519.Point).ScalarBaseMult(s).Bytes()), nil
}
