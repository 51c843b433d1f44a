package mysql

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/credproxy/credproxy/proxy/fault"
)

const (
	anywhere = "*.*"
	all      = "ALL PRIVILEGES"

	grantOption = "GRANT OPTION"
)

// grants are the rights of an account, as SHOW GRANTS has them.
type grants struct {
	on      map[string]*privileges     // by what it is on, as in GRANT … ON
	dynamic map[string]bool            // MySQL's dynamic ones, on *.*: whether it may give them to others
	without map[string]map[string]bool // by database: what of the rights on *.* it lacks there
	roles   map[user]bool              // whether it may give them to others
	proxies map[user]bool              // the accounts it may be: whether it may let others
}

// privileges are those on one thing.
type privileges struct {
	has    map[string]bool // as in GRANT, one column each
	option bool            // may be given to others
}

func newGrants() *grants {
	return &grants{on: map[string]*privileges{}, dynamic: map[string]bool{}, without: map[string]map[string]bool{},
		roles: map[user]bool{}, proxies: map[user]bool{}}
}

// at returns the privileges on what is named, to be added to.
func (g *grants) at(on string) *privileges {
	if g.on[on] == nil {
		g.on[on] = &privileges{has: map[string]bool{}}
	}
	return g.on[on]
}

// see is at for those who only look.
func (g *grants) see(on string) *privileges {
	if p := g.on[on]; p != nil {
		return p
	}
	return &privileges{}
}

// global reports whether the account has the privilege everywhere, or grantOption.
func (g *grants) global(privilege string) bool {
	if privilege == grantOption {
		return g.see(anywhere).option
	}
	_, dynamic := g.dynamic[privilege]
	has := g.see(anywhere).has
	return dynamic || has[privilege] || has[all]
}

// parseGrants reads the lines of SHOW GRANTS that are about the account, nil for all.
func parseGrants(lines []string, about *user) (*grants, error) {
	g := newGrants()
	for _, line := range lines {
		s := scan(line)
		switch {
		case s.accept("GRANT", "PROXY", "ON"):
			g.proxy(s, about)
		case s.accept("GRANT"):
			if s.peek().quoted {
				g.role(s, about)
			} else {
				g.privileges(s, about)
			}
		case s.accept("REVOKE"):
			g.partial(s, about)
		case s.accept("SET", "DEFAULT", "ROLE"): // MariaDB: read elsewhere
		default:
			s.fail()
		}
		if s.err != nil { // the line may have a hash
			return nil, fmt.Errorf("SHOW GRANTS: a line that %w: %s", s.err, fault.Clip(hashes.ReplaceAllString(line, " IDENTIFIED …")))
		}
	}
	return g, nil
}

var hashes = regexp.MustCompile(`(?s) IDENTIFIED .*`)

// forSomebodyElse takes the account after TO or FROM.
func (s *scanner) forSomebodyElse(about *user) bool {
	if s.accept("PUBLIC") {
		return true
	}
	u := s.account()
	return about != nil && u != *about
}

// mayGive reports whether the line ends in WITH GRANT OPTION, or so that only resource
// limits of MariaDB follow. What comes before may have any text in it.
func (s *scanner) mayGive() bool { return withOption.MatchString(s.rest) }

var withOption = regexp.MustCompile(`(^| )WITH (GRANT|ADMIN) OPTION( MAX_[A-Z_]+ [0-9.]+)*$`)

func (g *grants) proxy(s *scanner, about *user) {
	as := s.account()
	s.expect("TO")
	if !s.forSomebodyElse(about) && s.err == nil {
		g.proxies[as] = g.proxies[as] || s.mayGive()
	}
}

func (g *grants) role(s *scanner, about *user) {
	var roles []user
	for more := true; more; more = s.accept(",") {
		roles = append(roles, s.account())
	}
	s.expect("TO")
	if s.forSomebodyElse(about) || s.err != nil {
		return
	}
	for _, r := range roles {
		g.roles[r] = g.roles[r] || s.mayGive()
	}
}

func (g *grants) privileges(s *scanner, about *user) {
	names := s.privileges()
	on := s.object()
	s.expect("TO")
	if s.forSomebodyElse(about) || s.err != nil {
		return
	}
	option, static := s.mayGive(), len(names) == 0
	for _, name := range names {
		if on == anywhere && isDynamic(name) {
			g.dynamic[name] = g.dynamic[name] || option
			continue
		}
		static = true
		g.at(on).has[name] = true
	}
	if static && option {
		g.at(on).option = true
	}
}

// isDynamic tells MySQL's dynamic privileges from the others by their names.
func isDynamic(privilege string) bool {
	return strings.Contains(privilege, "_") && privilege != "READ_ONLY ADMIN"
}

// partial reads what MySQL's partial_revokes take away. MySQL 9.7 leaves GRANT OPTION out.
func (g *grants) partial(s *scanner, about *user) {
	names := []string{grantOption}
	if !s.accept("ON") {
		names = s.privileges()
	}
	on := s.object()
	s.expect("FROM")
	if s.forSomebodyElse(about) || s.err != nil {
		return
	}
	if g.without[on] == nil {
		g.without[on] = map[string]bool{}
	}
	for _, name := range names {
		g.without[on][name] = true
	}
}

// privileges takes a list of privileges up to ON; none for USAGE.
func (s *scanner) privileges() (names []string) {
	for more := true; more && s.err == nil; more = s.accept(",") {
		var words []string
		for t := s.peek(); t.text != "" && !t.quoted && isWord(t.text[0]) && t.text != "ON"; t = s.peek() {
			words = append(words, strings.ToUpper(s.next().text))
		}
		name := strings.Join(words, " ")
		if name == "" {
			s.fail()
		}
		if !s.accept("(") {
			names = append(names, name)
			continue
		}
		for column := true; column && s.err == nil; column = s.accept(",") {
			t := s.next()
			if !t.quoted {
				s.fail()
			}
			names = append(names, name+" ("+ident(t.text)+")")
		}
		s.expect(")")
	}
	s.expect("ON")
	return slices.DeleteFunc(names, func(name string) bool { return name == "USAGE" })
}

// object takes what privileges are on, and returns it in one spelling.
func (s *scanner) object() string {
	var b strings.Builder
	for t := s.peek(); t.text != "" && !t.quoted && isWord(t.text[0]); t = s.peek() {
		if word := strings.ToUpper(s.next().text); word != "TABLE" {
			b.WriteString(word + " ")
		}
	}
	b.WriteString(s.part())
	s.expect(".")
	b.WriteString("." + s.part())
	return b.String()
}

func (s *scanner) part() string {
	t := s.next()
	if t.quoted {
		return ident(t.text)
	}
	if t.text != "*" {
		s.fail()
	}
	return t.text
}

// databaseOf returns what privileges on the whole database are on.
func databaseOf(on string) string {
	i := strings.IndexByte(on, '`')
	if i < 0 {
		return ""
	}
	s := scan(on[i:])
	return ident(s.next().text) + ".*"
}

// base is the privilege without the column.
func base(privilege string) string {
	name, _, _ := strings.Cut(privilege, " (")
	return name
}

func sorted[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
