package pool_test

import (
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

func parse(name, sql string) *pgproto3.Parse { return &pgproto3.Parse{Name: name, Query: sql} }

var (
	bind      = &pgproto3.Bind{}
	execute   = &pgproto3.Execute{}
	syncNow   = &pgproto3.Sync{}
	terminate = &pgproto3.Terminate{}
)

// says returns a deed that sends messages and reads so many ReadyForQuery.
func says(name string, answers int, closed bool, messages ...pgproto3.FrontendMessage) deed {
	return deed{name: name, closed: closed, do: func(_ *testing.T, a *raw) {
		a.send(messages...)
		for range answers {
			a.ready()
		}
	}}
}

// leaves returns a deed that ends the connection by sending b, and closes it.
func leaves(name string, closed bool, b []byte) deed {
	return deed{name: name, closed: closed, away: true, do: func(_ *testing.T, a *raw) {
		a.write(b)
		a.gone()
	}}
}

// wireDeeds are of the protocol.
func wireDeeds() []deed {
	query := &pgproto3.Query{String: "SELECT 1"}
	bad := parse("", "SELEC")
	series := parse("", "SELECT generate_series(1, 10)")
	return []deed{
		says("nothing", 0, false),
		says("Query", 1, false, query),
		says("ten Queries at once", 10, false, query, query, query, query, query, query, query, query, query, query),
		says("Sync", 1, false, syncNow),
		says("Sync thrice", 3, false, syncNow, syncNow, syncNow),
		says("a prepared statement", 1, false, parse("p", "SELECT 1"), syncNow),
		says("a prepared statement without a name", 1, false, parse("", "SELECT 1"), syncNow),
		says("a prepared statement that was closed", 2, false, parse("p", "SELECT 1"), syncNow, &pgproto3.Close{ObjectType: 'S', Name: "p"}, syncNow),
		says("a statement that sets", 1, false, parse("", "SET work_mem = '7MB'"), bind, execute, syncNow),
		says("Parse, Bind, Describe, Execute, Close", 1, false, parse("p", "SELECT 1"), &pgproto3.Bind{DestinationPortal: "c", PreparedStatement: "p"},
			&pgproto3.Describe{ObjectType: 'S', Name: "p"}, &pgproto3.Describe{ObjectType: 'P', Name: "c"}, &pgproto3.Execute{Portal: "c"}, &pgproto3.Close{ObjectType: 'P', Name: "c"}, syncNow),
		says("a pipeline with one Sync", 1, false, parse("", "SELECT 1"), bind, execute, bind, execute, bind, execute, syncNow),
		says("a pipeline with many", 3, false, parse("", "SELECT 1"), bind, execute, syncNow, bind, execute, syncNow, bind, execute, syncNow),
		says("a pipeline that fails", 2, false, bad, bind, execute, syncNow, parse("", "SELECT 1"), bind, execute, syncNow),
		says("Flush and Sync", 1, false, parse("", "SELECT 1"), bind, execute, &pgproto3.Flush{}, syncNow),
		says("a portal that is suspended, and Sync", 1, false, series, bind, &pgproto3.Execute{MaxRows: 3}, syncNow),
		says("a named portal that is suspended, and Sync", 1, false, series, &pgproto3.Bind{DestinationPortal: "c"}, &pgproto3.Execute{Portal: "c", MaxRows: 3}, syncNow),
		says("a function call", 1, false, &pgproto3.FunctionCall{Function: 89, ArgFormatCodes: []uint16{}, Arguments: [][]byte{}}), // version()
		says("a function call that sets a lock", 1, false, &pgproto3.FunctionCall{Function: 2880, ArgFormatCodes: []uint16{1}, Arguments: [][]byte{{0, 0, 0, 0, 0, 0, 0, 9}}}),
		says("COPY in", 1, false, &pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}),
		says("COPY in that fails", 1, false, &pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyData{Data: []byte("x\n")}, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}),
		says("COPY in that is given up", 1, false, &pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyFail{Message: "no"}),
		says("COPY in by Execute", 1, false, parse("", "COPY t FROM STDIN"), bind, execute, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, syncNow),
		says("CopyData for no COPY", 1, false, &pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}, query),
		says("several COPYs in one Query", 1, false, &pgproto3.Query{String: "COPY t FROM STDIN; COPY t FROM STDIN; SELECT 1"}, &pgproto3.CopyDone{}, &pgproto3.CopyDone{}),

		// What follows is not known to be clean.
		says("COPY in by Execute, with Sync too soon", 1, true, parse("", "COPY t FROM STDIN"), bind, execute, syncNow, &pgproto3.CopyDone{}, syncNow),
		says("COPY in that is broken off", 0, true, &pgproto3.Query{String: "COPY t FROM STDIN"}, &pgproto3.CopyData{Data: []byte("1\n")}),
		says("COPY out that is not read", 0, true, &pgproto3.Query{String: "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT"}),
		says("rows that are not read", 0, true, &pgproto3.Query{String: "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"}),
		says("Query, and away", 0, true, &pgproto3.Query{String: "SELECT pg_sleep(0.3)"}),
		says("Sync, and away", 0, true, parse("", "SELECT pg_sleep(0.3)"), bind, execute, syncNow),
		says("Parse without Sync", 0, true, parse("p", "SELECT 1")),
		says("an error without Sync", 0, true, bad),
		says("an error and Queries without Sync", 0, true, bad, query, query),
		says("Flush without Sync", 0, true, parse("", "SELECT 1"), bind, execute, &pgproto3.Flush{}),
		says("Flush alone", 0, true, &pgproto3.Flush{}),
		says("a portal that is suspended", 0, true, series, bind, &pgproto3.Execute{MaxRows: 3}, &pgproto3.Flush{}),
		says("a portal that is suspended in a transaction", 2, true, &pgproto3.Query{String: "BEGIN"}, series, &pgproto3.Bind{DestinationPortal: "c"}, &pgproto3.Execute{Portal: "c", MaxRows: 3}, syncNow),
		says("Sync and then Parse", 1, true, syncNow, parse("", "SELECT 1")),
		says("BEGIN by Execute", 1, true, parse("", "BEGIN"), bind, execute, syncNow),
		leaves("a password", true, encode(&pgproto3.PasswordMessage{Password: "x"}, terminate)),
		leaves("a message of no kind", true, []byte{'!', 0, 0, 0, 4, 'X', 0, 0, 0, 4}),
		leaves("a message of kind 0", true, []byte{0, 0, 0, 0, 4, 'X', 0, 0, 0, 4}),
		leaves("a length of nothing", true, []byte{'Q', 0, 0, 0, 0, 'X', 0, 0, 0, 4}),
		leaves("a length of 4 GiB", true, []byte{'Q', 0xff, 0xff, 0xff, 0xff, 'X', 0, 0, 0, 4}),
		leaves("a length of nothing of good-bye", true, []byte{'X', 0, 0, 0, 0}),
		leaves("good-bye with something in it", true, []byte{'X', 0, 0, 0, 5, 0}),
		leaves("good-bye twice", true, encode(terminate, terminate)),
		leaves("good-bye and Query", true, encode(terminate, query)),
		leaves("good-bye and a byte", true, append(encode(terminate), 'Q')),
		leaves("Query and good-bye at once", true, encode(&pgproto3.Query{String: "SELECT pg_sleep(0.2)"}, terminate)),
		{name: "half-close", closed: true, away: true, do: func(t *testing.T, a *raw) {
			must(t, a.conn.(*net.TCPConn).CloseWrite())
			a.gone()
		}},
		{name: "half-close after good-bye", away: true, do: func(t *testing.T, a *raw) {
			a.write(encode(terminate))
			must(t, a.conn.(*net.TCPConn).CloseWrite())
			a.gone()
		}},
		{name: "Query and half-close", closed: true, away: true, do: func(t *testing.T, a *raw) {
			a.write(encode(&pgproto3.Query{String: "SELECT pg_sleep(0.2)"}))
			must(t, a.conn.(*net.TCPConn).CloseWrite())
			a.gone()
		}},
		{name: "vanish", closed: true, away: true, do: func(_ *testing.T, a *raw) { a.reset() }},
		{name: "vanish in a query", closed: true, away: true, do: func(_ *testing.T, a *raw) {
			a.send(&pgproto3.Query{String: "SELECT pg_sleep(0.5)"})
			a.reset()
		}},
		{name: "close", closed: true, away: true, do: func(_ *testing.T, a *raw) { _ = a.conn.Close() }},
		{name: "FATAL", closed: true, away: true, do: func(t *testing.T, a *raw) {
			a.send(&pgproto3.Query{String: "SELECT pg_terminate_backend(pg_backend_pid())"})
			if code := awaitMessage[*pgproto3.ErrorResponse](a); code != "57P01" {
				t.Errorf("code %s", code)
			}
			a.gone()
		}},
		{name: "good-bye one byte at a time", away: true, do: func(_ *testing.T, a *raw) {
			for _, c := range encode(query) {
				a.write([]byte{c})
			}
			a.ready()
			for _, c := range encode(terminate) {
				a.write([]byte{c})
			}
			a.gone()
		}},
	}
}
