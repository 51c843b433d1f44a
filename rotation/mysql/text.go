package mysql

import (
	"errors"
	"strings"

	"github.com/credproxy/credproxy/rotation/account"
)

// user is an account, or a role: those of MariaDB have no host.
type user struct{ name, host string }

// String returns the account as statements name it.
func (u user) String() string { return quote(u.name) + "@" + quote(u.host) }

// role returns the role as statements name it.
func (u user) role() string {
	if u.host == "" {
		return ident(u.name)
	}
	return ident(u.name) + "@" + ident(u.host)
}

// userOf splits what CURRENT_USER() says. Names may hold an @, hosts do not.
func userOf(s string) user {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return user{name: s}
	}
	return user{s[:at], s[at+1:]}
}

var escapes = strings.NewReplacer(`\`, `\\`, `'`, `''`, "\x00", `\0`)

// quote makes a literal of s, under the sql_mode that Login sets.
func quote(s string) string { return "'" + escapes.Replace(s) + "'" }

func ident(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// redacted stands for a secret in statements that are shown.
const redacted = "'<redacted>'"

// phrase is a statement in the making.
type phrase struct {
	sql, shown strings.Builder
	secret     bool
}

func (p *phrase) add(parts ...string) *phrase {
	for _, s := range parts {
		p.sql.WriteString(s)
		p.shown.WriteString(s)
	}
	return p
}

// addSecret adds a literal that is not shown.
func (p *phrase) addSecret(s string) *phrase {
	p.secret = true
	p.sql.WriteString(quote(s))
	p.shown.WriteString(redacted)
	return p
}

// statement returns what was said, for which the errors given are none.
func (p *phrase) statement(tolerate ...string) account.Statement {
	s := account.Statement{SQL: p.sql.String(), Tolerate: tolerate}
	if p.secret {
		s.Text = p.shown.String()
	}
	return s
}

func say(parts ...string) account.Statement { return new(phrase).add(parts...).statement() }

// maxText caps what is scanned: no answer is longer.
const maxText = 1 << 20

var errText = errors.New("cannot be read")

// scanner reads what SHOW GRANTS and SHOW CREATE USER say.
type scanner struct {
	rest string
	err  error
}

func scan(s string) *scanner {
	if len(s) > maxText {
		return &scanner{err: errText}
	}
	return &scanner{rest: s}
}

// token is a word, a name or text in quotes without them, or one other character.
type token struct {
	text   string
	quoted bool
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// next returns the next token; its text is empty at the end, and after an error.
func (s *scanner) next() token {
	s.rest = strings.TrimLeft(s.rest, " ")
	if s.err != nil || s.rest == "" {
		return token{}
	}
	switch c := s.rest[0]; {
	case c == '\'' || c == '`' || c == '"':
		return token{s.quoted(c), true}
	case isWord(c):
		n := 1
		for n < len(s.rest) && isWord(s.rest[n]) {
			n++
		}
		return token{s.take(n), false}
	default:
		return token{s.take(1), false}
	}
}

func (s *scanner) take(n int) (t string) {
	t, s.rest = s.rest[:n], s.rest[n:]
	return t
}

// quoted takes what stands in quotes. A backslash escapes the next character in text, and
// is itself in names.
func (s *scanner) quoted(quote byte) string {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case c == quote && i+1 < len(s.rest) && s.rest[i+1] == quote:
			i++
		case c == quote:
			s.rest = s.rest[i+1:]
			return b.String()
		case c == '\\' && quote == '\'' && i+1 < len(s.rest):
			i++
			c = s.rest[i]
		}
		b.WriteByte(c)
	}
	s.fail()
	return ""
}

func (s *scanner) fail() {
	if s.err == nil {
		s.err = errText
	}
	s.rest = ""
}

// peek returns the next token and leaves it there.
func (s *scanner) peek() token {
	was := *s
	t := s.next()
	*s = was
	return t
}

// accept takes the words if they come next, whatever their case.
func (s *scanner) accept(words ...string) bool {
	was := *s
	for _, w := range words {
		if t := s.next(); t.quoted || !strings.EqualFold(t.text, w) {
			*s = was
			return false
		}
	}
	return true
}

func (s *scanner) expect(words ...string) {
	if !s.accept(words...) {
		s.fail()
	}
}

// account takes an account or a role, by its name in quotes.
func (s *scanner) account() user {
	t := s.next()
	u := user{name: t.text}
	if !t.quoted {
		s.fail()
	}
	if s.accept("@") {
		t = s.next()
		if !t.quoted {
			s.fail()
		}
		u.host = t.text
	}
	return u
}
