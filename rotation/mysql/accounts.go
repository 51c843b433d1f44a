package mysql

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/rotation/account"
)

// entry is what the server keeps of an account, but for its rights.
type entry struct {
	user
	slots   []slot   // how one logs in; any of them will do
	clauses []string // of CREATE USER and ALTER USER, in their order; those of two accounts compare
	second  string   // of a second password, what MySQL's plugin keeps, in hexadecimal

	attributes map[string]any // MySQL's ATTRIBUTE, with the comment in it

	defaultRoles []user
}

// slot is one way of logging in.
type slot struct {
	Plugin string `json:"plugin"`
	Auth   string `json:"authentication_string"` // what the plugin keeps; of MySQL in hexadecimal
}

// entries returns the accounts that have one of the names.
func (s *Session) entries(ctx context.Context, names ...string) ([]entry, error) {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = quote(name)
	}
	where := " WHERE User IN (" + strings.Join(quoted, ", ") + ") ORDER BY User, Host"
	if s.mariadb {
		return s.entriesMariaDB(ctx, where)
	}
	return s.entriesMySQL(ctx, where)
}

// columns of mysql.user that MySQL got with a later version, with what stands for them before.
func (s *Session) since(version []int, column string) string {
	if s.mysqlFrom(version...) {
		return column
	}
	return "NULL"
}

func (s *Session) entriesMySQL(ctx context.Context, where string) ([]entry, error) {
	attributes := s.since([]int{8, 0, 14}, "User_attributes")
	rows, err := s.read(ctx, "mysql.user", "SELECT User, Host, plugin, ssl_type, ssl_cipher, x509_issuer, x509_subject,"+
		" max_questions, max_updates, max_connections, max_user_connections, password_lifetime, account_locked, "+
		s.since([]int{8, 0, 3}, "Password_reuse_history")+", "+s.since([]int{8, 0, 3}, "Password_reuse_time")+", "+
		s.since([]int{8, 0, 13}, "Password_require_current")+", "+
		"JSON_REMOVE("+attributes+", '$.additional_password'), HEX(authentication_string), HEX(JSON_UNQUOTE(JSON_EXTRACT("+attributes+", '$.additional_password')))"+
		" FROM mysql.user"+where)
	if err != nil {
		return nil, err
	}
	var found []entry
	for _, row := range rows {
		if len(row) != 19 {
			return nil, fault.ErrAnswer("an account of other columns", nil)
		}
		e, err := s.entryMySQL(row)
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, s.defaultRolesMySQL(ctx, found, where)
}

func (s *Session) entryMySQL(row []string) (entry, error) {
	e := entry{user: user{row[0], row[1]}, slots: []slot{{row[2], row[17]}}, second: row[18]}
	locked := "ACCOUNT UNLOCK"
	if row[12] == "Y" {
		locked = "ACCOUNT LOCK"
	}
	e.clauses = append(e.clauses, require(row[3], row[4], row[5], row[6]),
		limit+"MAX_QUERIES_PER_HOUR "+row[7], limit+"MAX_UPDATES_PER_HOUR "+row[8], limit+"MAX_CONNECTIONS_PER_HOUR "+row[9], limit+"MAX_USER_CONNECTIONS "+row[10],
		expiry(row[11]), locked)
	if s.mysqlFrom(8, 0, 3) {
		interval := "PASSWORD REUSE INTERVAL DEFAULT"
		if row[14] != "" {
			interval = "PASSWORD REUSE INTERVAL " + row[14] + " DAY"
		}
		e.clauses = append(e.clauses, "PASSWORD HISTORY "+cmp.Or(row[13], "DEFAULT"), interval)
	}
	if s.mysqlFrom(8, 0, 13) {
		e.clauses = append(e.clauses, map[string]string{"": "PASSWORD REQUIRE CURRENT DEFAULT", "Y": "PASSWORD REQUIRE CURRENT", "N": "PASSWORD REQUIRE CURRENT OPTIONAL"}[row[15]])
	}
	var more struct {
		Metadata map[string]any
		Locking  struct {
			Failed int `json:"failed_login_attempts"`
			Days   int `json:"password_lock_time_days"`
		} `json:"Password_locking"`
		Factors json.RawMessage `json:"multi_factor_authentication"`
	}
	if row[16] != "" {
		if err := json.Unmarshal([]byte(row[16]), &more); err != nil {
			return e, fmt.Errorf("attributes of %s: %w", e.user, err)
		}
	}
	if more.Factors != nil {
		return e, &account.Obstacle{Message: fmt.Sprintf("%s logs in with a second factor", e.user), Hint: "Let the users of a secret log in with a password alone."}
	}
	if s.mysqlFrom(8, 0, 19) {
		days := strconv.Itoa(more.Locking.Days)
		if more.Locking.Days < 0 {
			days = "UNBOUNDED"
		}
		e.clauses = append(e.clauses, fmt.Sprintf("FAILED_LOGIN_ATTEMPTS %d PASSWORD_LOCK_TIME %s", more.Locking.Failed, days))
	}
	e.attributes = more.Metadata
	return e, nil
}

func require(kind, cipher, issuer, subject string) string {
	switch kind {
	case "ANY":
		return "REQUIRE SSL"
	case "X509":
		return "REQUIRE X509"
	case "SPECIFIED":
		var parts []string
		for _, p := range [][2]string{{"SUBJECT ", subject}, {"ISSUER ", issuer}, {"CIPHER ", cipher}} {
			if p[1] != "" {
				parts = append(parts, p[0]+quote(p[1]))
			}
		}
		return "REQUIRE " + strings.Join(parts, " AND ")
	}
	return "REQUIRE NONE"
}

// expiry makes a clause of the days that a password lasts: "" for the server's default.
func expiry(days string) string {
	switch days {
	case "":
		return "PASSWORD EXPIRE DEFAULT"
	case "0":
		return "PASSWORD EXPIRE NEVER"
	}
	return "PASSWORD EXPIRE INTERVAL " + days + " DAY"
}

func (s *Session) defaultRolesMySQL(ctx context.Context, accounts []entry, where string) error {
	if !s.mysqlFrom(8) {
		return nil
	}
	rows, err := s.read(ctx, "mysql.default_roles", "SELECT USER, HOST, DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles"+where+", 3, 4")
	if err != nil {
		return err
	}
	for _, row := range rows {
		for i := range accounts {
			if accounts[i].user == (user{row[0], row[1]}) {
				accounts[i].defaultRoles = append(accounts[i].defaultRoles, user{row[2], row[3]})
			}
		}
	}
	return nil
}

// entriesMariaDB reads mysql.global_priv, where MariaDB keeps accounts and roles.
func (s *Session) entriesMariaDB(ctx context.Context, where string) ([]entry, error) {
	rows, err := s.read(ctx, "mysql.global_priv", "SELECT User, Host, Priv FROM mysql.global_priv"+where)
	if err != nil {
		return nil, err
	}
	var found []entry
	for _, row := range rows {
		e, role, err := entryMariaDB(user{row[0], row[1]}, row[2])
		if err != nil {
			return nil, err
		}
		if !role {
			found = append(found, e)
		}
	}
	return found, nil
}

func entryMariaDB(u user, priv string) (e entry, role bool, err error) {
	v := struct {
		slot
		Or       []slot      `json:"auth_or"`
		SSL      int         `json:"ssl_type"`
		Cipher   string      `json:"ssl_cipher"`
		Issuer   string      `json:"x509_issuer"`
		Subject  string      `json:"x509_subject"`
		Queries  int64       `json:"max_questions"`
		Updates  int64       `json:"max_updates"`
		Connects int64       `json:"max_connections"`
		Sessions int64       `json:"max_user_connections"`
		Time     json.Number `json:"max_statement_time"`
		Days     int64       `json:"password_lifetime"`
		Locked   bool        `json:"account_locked"`
		Role     string      `json:"default_role"`
		IsRole   bool        `json:"is_role"`
	}{Days: -1, Time: "0"}
	if err := json.Unmarshal([]byte(priv), &v); err != nil {
		return e, false, fmt.Errorf("what mysql.global_priv has of %s cannot be read", u) // it has a hash
	}
	e = entry{user: u, slots: v.Or}
	for i := range e.slots {
		if e.slots[i] == (slot{}) { // stands for the one outside
			e.slots[i] = v.slot
		}
	}
	if len(e.slots) == 0 {
		e.slots = []slot{v.slot}
	}
	time, err := v.Time.Float64()
	if err != nil {
		return e, false, fmt.Errorf("max_statement_time of %s: %w", u, err)
	}
	days, locked := "", "ACCOUNT UNLOCK"
	if v.Days >= 0 {
		days = strconv.FormatInt(v.Days, 10)
	}
	if v.Locked {
		locked = "ACCOUNT LOCK"
	}
	kind := ""
	if kinds := []string{"", "ANY", "X509", "SPECIFIED"}; v.SSL > 0 && v.SSL < len(kinds) {
		kind = kinds[v.SSL]
	}
	e.clauses = []string{require(kind, v.Cipher, v.Issuer, v.Subject)}
	for i, name := range []string{"MAX_QUERIES_PER_HOUR ", "MAX_UPDATES_PER_HOUR ", "MAX_CONNECTIONS_PER_HOUR ", "MAX_USER_CONNECTIONS "} {
		e.clauses = append(e.clauses, limit+name+strconv.FormatInt([]int64{v.Queries, v.Updates, v.Connects, v.Sessions}[i], 10))
	}
	e.clauses = append(e.clauses, limit+"MAX_STATEMENT_TIME "+strconv.FormatFloat(time, 'f', -1, 64), locked, expiry(days))
	if v.Role != "" {
		e.defaultRoles = []user{{name: v.Role}}
	}
	return e, v.IsRole, nil
}

// fresh returns an account as CREATE USER makes it if it is told nothing.
func (s *Session) fresh(u user) (e entry, err error) {
	if s.mariadb {
		e, _, err = entryMariaDB(u, "{}")
		return e, err
	}
	return s.entryMySQL([]string{u.name, u.host, "", "", "", "", "", "0", "0", "0", "0", "", "N", "", "", "", "", "", ""})
}

// limit begins the clauses of resources, of which a statement has it but once.
const limit = "WITH "

// changed returns the clauses by which e becomes like want; ATTRIBUTE is the last.
func (e *entry) changed(want *entry) (clauses []string, err error) {
	limited := false
	for i, clause := range want.clauses {
		if e.clauses[i] == clause {
			continue
		}
		if rest, ok := strings.CutPrefix(clause, limit); ok && limited {
			clause = rest
		} else if ok {
			limited = true
		}
		clauses = append(clauses, clause)
	}
	patch := mergePatch(e.attributes, want.attributes)
	if len(patch) == 0 {
		return clauses, nil
	}
	text, err := json.Marshal(patch)
	return append(clauses, "ATTRIBUTE "+quote(string(text))), err
}

// mergePatch makes want of have, as ATTRIBUTE does it (RFC 7396).
func mergePatch(have, want map[string]any) map[string]any {
	patch := map[string]any{}
	for k, w := range want {
		h, is := have[k]
		if is && sameJSON(h, w) {
			continue
		}
		patch[k] = w
		inner, ok := h.(map[string]any)
		if wanted, too := w.(map[string]any); ok && too {
			patch[k] = mergePatch(inner, wanted)
		}
	}
	for k := range have {
		if _, wanted := want[k]; !wanted {
			patch[k] = nil
		}
	}
	return patch
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && slices.Equal(x, y)
}
