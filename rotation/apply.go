package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/rotation/account"
)

// syntaxErrors are the SQLSTATE of PostgreSQL and the number of MySQL and MariaDB.
var syntaxErrors = []string{"42601", "1064"}

// Apply runs the statements of a plan in their order, up to the first that fails. The
// error shows it, without what it may not show.
func Apply(ctx context.Context, session account.Session, statements []account.Statement) error {
	for _, s := range statements {
		_, err := session.Query(ctx, s.SQL)
		said, ok := errors.AsType[*fault.SQLError](err)
		if ok && slices.Contains(s.Tolerate, said.Code) {
			continue
		}
		if ok && slices.Contains(s.Last, said.Code) {
			return nil
		}
		switch {
		case err == nil:
		case s.Text != "" && ok && slices.Contains(syntaxErrors, said.Code): // it quotes the statement
			return fmt.Errorf("%s: the database said: syntax error (%s)", s.Shown(), said.Code)
		default:
			return fmt.Errorf("%s: %w", s.Shown(), err)
		}
	}
	return nil
}
