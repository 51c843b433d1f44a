package topology

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/credproxy/credproxy/proxy/fault"
)

// answers is a server: what it says to the statement that has the key in it. It refuses all
// other statements.
type answers map[string][][]string

func (a answers) Query(_ context.Context, statements ...string) (rows [][]string, err error) {
	for _, sql := range statements {
		rows, err = nil, fault.ErrStatement(&fault.SQLError{Code: "42883", Message: "there is no such thing"})
		for key, said := range a {
			if strings.Contains(sql, key) {
				rows, err = said, nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// broken is a server whose connection breaks at the statement that has the key in it.
type broken struct {
	answers
	key string
}

var errBroken = errors.New("the connection broke")

func (b broken) Query(ctx context.Context, statements ...string) ([][]string, error) {
	if strings.Contains(statements[len(statements)-1], b.key) {
		return nil, errBroken
	}
	return b.answers.Query(ctx, statements...)
}

var (
	cluster = Place{"orders.cluster-abc.eu-west-1.rds.amazonaws.com", 5432}
	one     = Place{"orders-1.abc.eu-west-1.rds.amazonaws.com", 5432}
	two     = Place{"orders-2.abc.eu-west-1.rds.amazonaws.com", 5432}
	three   = Place{"orders-3.abc.eu-west-1.rds.amazonaws.com", 5432}
	green   = Place{"orders-green-x1.cluster-abc.eu-west-1.rds.amazonaws.com", 5432}
	own     = Place{"db.example", 6000}
)

const (
	source = "BLUE_GREEN_DEPLOYMENT_SOURCE"
	target = "BLUE_GREEN_DEPLOYMENT_TARGET"
)

// postgres is a PostgreSQL with functions, of which more has the answers.
func postgres(recovery, functions string, more answers) answers {
	a := answers{"pg_is_in_recovery": {{recovery, functions}}, "SET statement_timeout": nil}
	for key, rows := range more {
		a[key] = rows
	}
	return a
}

// mysql is a MySQL with variables, of which more has the answers.
func mysql(innodbReadOnly, readOnly string, more answers) answers {
	a := answers{MySQLRole: {{innodbReadOnly, readOnly}}, "aurora_server_id": nil, "information_schema.columns": nil}
	for key, rows := range more {
		a[key] = rows
	}
	return a
}

func columnsOf(names string) (rows [][]string) {
	for name := range strings.FieldsSeq(names) {
		rows = append(rows, []string{name})
	}
	return rows
}

func TestAsk(t *testing.T) {
	const aurora = "aurora_replica_status,aurora_db_instance_identifier,get_blue_green_fast_switchover_metadata"
	const rds = "show_topology,dbi_resource_id,multi_az_db_cluster_source_dbi_resource_id"
	greenRow := func(status string) answers {
		return answers{"'credproxy'": {
			{`{"id": "1", "endpoint": "` + cluster.Host + `", "port": 5432, "role": "` + source + `", "status": "` + status + `", "version": "1.0"}`},
			{`{"id": "2", "endpoint": "orders-green-x1.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "port": 5432, "role": "` + target + `", "status": "` + status + `"}`},
			{`{"id": "3", "endpoint": "orders-1-green-x1.abc.eu-west-1.rds.amazonaws.com", "port": 5432, "role": "` + target + `", "status": "` + status + `"}`},
			{`{"id": "4", "endpoint": "` + green.Host + `", "port": 5432, "role": "` + target + `", "status": "` + status + `"}`},
		}}
	}
	for name, c := range map[string]struct {
		ask   func(context.Context, Session, Place, ...Place) (Answer, error)
		s     answers
		at    Place // default: cluster
		hosts []Place
		want  Answer
	}{
		"PostgreSQL": {ask: AskPostgres, s: postgres("f", "", nil), want: Answer{Self: Writer}},
		"standby":    {ask: AskPostgres, s: postgres("t", "", nil), want: Answer{Self: Reader}},
		"Aurora PostgreSQL": {ask: AskPostgres, s: postgres("t", aurora, answers{"aurora_replica_status()": {
			{"orders-1", writersSession, "", "1700000000.25", "orders-2"},
			{"orders-2", "a-session", "12.5", "1700000000.5", "orders-2"},
			{"orders-3", "another", "20000", "1700000001", "orders-2"},
			{"orders-4", "gone", "3", "1699999700", "orders-2"},
		}}), want: Answer{Self: Reader, Partial: true, Name: "orders-2", Instances: []Instance{
			{three, "orders-3", Reader, 20 * time.Second}, {two, "orders-2", Reader, 12500 * time.Microsecond}, {one, "orders-1", Writer, 0},
		}}},
		"Aurora that still lists the old writer": {ask: AskPostgres, s: postgres("f", aurora, answers{"aurora_replica_status()": {
			{"orders-1", writersSession, "", "1700000000", "orders-2"},
			{"orders-2", writersSession, "", "1700000005", "orders-2"},
		}}), want: Answer{Self: Writer, Partial: true, Name: "orders-2", Instances: []Instance{{two, "orders-2", Writer, 0}, {one, "orders-1", Unknown, -1}}}},
		"Aurora whose list is behind what it is": {ask: AskPostgres, s: postgres("t", aurora, answers{"aurora_replica_status()": {
			{"orders-1", writersSession, "", "", "orders-1"}, {"orders-2", "s", "", "", "orders-1"},
		}}), want: Answer{Self: Reader, Partial: true, Name: "orders-1", Instances: []Instance{{one, "orders-1", Reader, -1}, {two, "orders-2", Reader, -1}}}},
		"Aurora by a name of one's own": {ask: AskPostgres, at: own, s: postgres("f", "aurora_replica_status", answers{"aurora_replica_status()": {{"orders-1", writersSession, "", "1", ""}}}),
			want: Answer{Self: Writer, Instances: []Instance{{Place{}, "orders-1", Writer, 0}}}},
		"Aurora by a name of one's own, with a host": {ask: AskPostgres, at: own, hosts: []Place{two},
			s:    postgres("f", "aurora_replica_status", answers{"aurora_replica_status()": {{"orders-1", writersSession, "", "1", ""}}}),
			want: Answer{Self: Writer, Instances: []Instance{{one, "orders-1", Writer, 0}}}},
		"instances that are hosts": {ask: AskPostgres, at: own, hosts: []Place{{"a.example", 1}, {"orders-1.example", 2}},
			s:    postgres("f", "aurora_replica_status", answers{"aurora_replica_status()": {{"ORDERS-1", writersSession, "", "1", ""}}}),
			want: Answer{Self: Writer, Instances: []Instance{{Place{"orders-1.example", 2}, "orders-1", Writer, 0}}}},
		"Aurora's Blue/Green deployment": {ask: AskPostgres, s: postgres("f", aurora, greenRow("SWITCHOVER_IN_PROGRESS")),
			want: Answer{Self: Writer, Partial: true, Switchover: SwitchoverUnderWay, Green: &green}},
		"Blue/Green deployment of RDS": {ask: AskPostgres, s: postgres("f", "show_topology", greenRow("SWITCHOVER_COMPLETED")),
			want: Answer{Self: Writer, Switchover: SwitchoverDone, Green: &green}},
		"Multi-AZ cluster's writer": {ask: AskPostgres, s: postgres("f", rds, answers{
			"'credproxy'": {{`{"id": "db-A", "endpoint": "` + one.Host + `", "port": 5432}`}, {`{"id": "db-B", "endpoint": "` + two.Host + `", "port": "5432"}`}},
			"AS x":        {{"db-A", ""}}}),
			want: Answer{Self: Writer, Name: "orders-1", Instances: []Instance{{one, "orders-1", Writer, 0}, {two, "orders-2", Reader, -1}}}},
		"Multi-AZ cluster's reader": {ask: AskPostgres, s: postgres("t", rds, answers{
			"'credproxy'": {{`{"id": "db-A", "endpoint": "` + one.Host + `", "port": 5432}`}, {`{"id": "db-B", "endpoint": "` + two.Host + `", "port": 5432, "new": {"column": [1]}}`}},
			"AS x":        {{"db-B", "db-A"}}}),
			want: Answer{Self: Reader, Name: "orders-2", Instances: []Instance{{one, "orders-1", Writer, 0}, {two, "orders-2", Reader, -1}}}},
		"Multi-AZ cluster that does not say who writes": {ask: AskPostgres, s: postgres("t", "show_topology", answers{
			"'credproxy'": {{`{"id": "db-A", "endpoint": "` + one.Host + `", "port": null}`}}}),
			want: Answer{Self: Reader, Instances: []Instance{{one, "orders-1", Unknown, -1}}}},
		"functions that refuse": {ask: AskPostgres, s: postgres("t", aurora+","+rds, nil), want: Answer{Self: Reader, Partial: true}},
		"empty lists":           {ask: AskPostgres, s: postgres("t", aurora, answers{"aurora_replica_status()": nil, "'credproxy'": nil}), want: Answer{Self: Reader}},
		"rows that are none": {ask: AskPostgres, s: postgres("t", aurora, answers{
			"aurora_replica_status()": {nil, {"a"}, {"", "", "", "", ""}, {"a.b", writersSession, "1", "1", ""}},
			"'credproxy'":             {nil, {""}, {"null"}, {"[]"}, {"{"}, {`{"role": 7, "endpoint": {}}`}, {"{}", "{}"}}}), want: Answer{Self: Reader}},
		"endpoints of others": {ask: AskPostgres, s: postgres("f", "show_topology", answers{"'credproxy'": {
			{`{"id": "1", "endpoint": "orders-1.evil.eu-west-1.rds.amazonaws.com", "port": 5432}`},
			{`{"id": "2", "endpoint": "orders-1.abc.eu-west-1.rds.amazonaws.com.evil.example", "port": 5432}`},
			{`{"id": "3", "endpoint": "127.0.0.1", "port": 5432}`},
			{`{"id": "4", "endpoint": "orders-1.abc.eu-west-1.rds.amazonaws.com", "port": 70000}`},
			{`{"id": "5", "endpoint": "orders.evil.example", "port": 5432, "role": "` + target + `", "status": "SWITCHOVER_COMPLETED"}`},
			{`{"id": "6", "endpoint": "evil/orders.cluster-abc.eu-west-1.rds.amazonaws.com", "port": 5432, "role": "` + target + `", "status": "WHATEVER"}`}}}),
			want: Answer{Self: Writer, Switchover: SwitchoverDone}},

		"MySQL":                  {ask: AskMySQL, s: mysql("0", "0", nil), want: Answer{Self: Writer}},
		"read_only":              {ask: AskMySQL, s: mysql("0", "1", nil), want: Answer{Self: Reader}},
		"innodb_read_only":       {ask: AskMySQL, s: mysql("1", "0", nil), want: Answer{Self: Reader}},
		"MariaDB 12":             {ask: AskMySQL, s: mysql("0", "OFF", nil), want: Answer{Self: Writer}},
		"MariaDB 12's read_only": {ask: AskMySQL, s: mysql("0", "NO_LOCK_NO_ADMIN", nil), want: Answer{Self: Reader}},
		"Aurora MySQL": {ask: AskMySQL, s: mysql("1", "0", answers{"aurora_server_id": {{"aurora_server_id", "orders-2"}}, "replica_host_status": {
			{"orders-1", writersSession, "0", "1700000000"}, {"orders-2", "s", "15", "1700000000"}, {"orders-3", "s", "15", "1699990000"},
		}}), want: Answer{Self: Reader, Name: "orders-2", Instances: []Instance{{one, "orders-1", Writer, 0}, {two, "orders-2", Reader, 15 * time.Millisecond}}}},
		"Aurora MySQL's Blue/Green deployment": {ask: AskMySQL, s: mysql("0", "0", answers{"aurora_server_id": {{"aurora_server_id", "orders-1"}},
			"replica_host_status":        {{"orders-1", writersSession, "0", "1"}},
			"information_schema.columns": columnsOf("id endpoint port role status version"),
			"mysql.rds_topology":         {{"1", cluster.Host, "5432", source, "AVAILABLE"}, {"2", green.Host, "5432", target, "SWITCHOVER_INITIATED"}},
		}), want: Answer{Self: Writer, Name: "orders-1", Switchover: SwitchoverInitiated, Green: &green, Instances: []Instance{{one, "orders-1", Writer, 0}}}},
		"Multi-AZ cluster of MySQL, without rights": {ask: AskMySQL, s: mysql("0", "1", answers{
			"information_schema.columns": columnsOf("id endpoint port"), "@@global.server_id": {{"22"}},
			"id, endpoint, port, '', '' FROM mysql.rds_topology": {{"11", one.Host, "5432", "", ""}, {"22", two.Host, "5432", "", ""}, {"33", three.Host, "5432", "", ""}},
		}), want: Answer{Self: Reader, Partial: true, Name: "orders-2", Instances: []Instance{{one, "orders-1", Unknown, -1}, {two, "orders-2", Reader, -1}, {three, "orders-3", Unknown, -1}}}},
		"Multi-AZ cluster's reader of MySQL": {ask: AskMySQL, s: mysql("0", "1", answers{
			"information_schema.columns": columnsOf("id endpoint port"), "@@global.server_id": {{"22"}},
			"mysql.rds_topology":  {{"11", one.Host, "5432", "", ""}, {"22", two.Host, "5432", "", ""}},
			"SHOW REPLICA STATUS": {append(make([]string, 39), "11", "more")},
		}), want: Answer{Self: Reader, Name: "orders-2", Instances: []Instance{{one, "orders-1", Writer, 0}, {two, "orders-2", Reader, -1}}}},
		"Multi-AZ cluster's writer of MySQL": {ask: AskMySQL, s: mysql("0", "0", answers{
			"information_schema.columns": columnsOf("id endpoint port"), "@@global.server_id": {{"11"}},
			"mysql.rds_topology": {{"11", one.Host, "", "", ""}, {"22", two.Host, "5432", "", ""}},
		}), want: Answer{Self: Writer, Name: "orders-1", Instances: []Instance{{one, "orders-1", Writer, 0}, {two, "orders-2", Reader, -1}}}},
		"a topology that may not be read": {ask: AskMySQL, s: mysql("0", "0", answers{"information_schema.columns": columnsOf("id endpoint")}), want: Answer{Self: Writer, Partial: true}},
	} {
		at := c.at
		if at.Host == "" {
			at = cluster
		}
		got, err := c.ask(t.Context(), c.s, at, c.hosts...)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v (%v), want %+v", name, got, err, c.want)
		}
	}
}

// serializable is a standby, and a user whose transactions are serializable by default.
type serializable struct{}

func (serializable) Query(_ context.Context, statements ...string) ([][]string, error) {
	if len(statements) < 2 || !strings.Contains(statements[0], "SET default_transaction_isolation") {
		return nil, fault.ErrStatement(&fault.SQLError{Code: "0A000", Message: "cannot use serializable mode in a hot standby"})
	}
	return [][]string{{"t", "2026-01-01"}}, nil
}

func TestRoleSerializable(t *testing.T) {
	if role, id, err := RolePostgres(t.Context(), serializable{}); err != nil || role != Reader || id != "2026-01-01" {
		t.Errorf("%s, %q: %v", role, id, err)
	}
}

// TestAskHuge holds that of an endless list only so much is kept.
func TestAskHuge(t *testing.T) {
	var rows [][]string
	for i := range 1000 {
		rows = append(rows, []string{fmt.Sprintf("orders-%d", i), "s", "1e300", fmt.Sprint(i), ""}, []string{"orders-0", writersSession, "NaN", "1e9", ""})
	}
	a, err := AskPostgres(t.Context(), postgres("t", "aurora_replica_status", answers{"aurora_replica_status()": rows}), cluster)
	if err != nil || len(a.Instances) > MaxInstances {
		t.Errorf("%d instances (%v)", len(a.Instances), err)
	}
	for _, i := range a.Instances {
		if i.Lag > maxLag {
			t.Errorf("a lag of %v", i.Lag)
		}
	}
}

// TestAskBreaks holds that an error of the connection is one, and keeps what was known by then.
func TestAskBreaks(t *testing.T) {
	aurora := postgres("t", "aurora_replica_status,get_blue_green_fast_switchover_metadata", answers{"aurora_replica_status()": {{"orders-1", writersSession, "", "1", ""}}})
	for _, c := range []struct {
		ask  func(context.Context, Session, Place, ...Place) (Answer, error)
		s    Session
		want Role
		many int
	}{
		{AskPostgres, broken{aurora, "pg_is_in_recovery"}, Unknown, 0},
		{AskPostgres, broken{aurora, "aurora_replica_status()"}, Reader, 0},
		{AskPostgres, broken{aurora, "'credproxy'"}, Reader, 1},
		{AskPostgres, broken{postgres("t", "show_topology", nil), "'credproxy'"}, Reader, 0},
		{AskMySQL, broken{mysql("0", "0", nil), MySQLRole}, Unknown, 0},
		{AskMySQL, broken{mysql("0", "0", nil), "aurora_server_id"}, Writer, 0},
		{AskMySQL, broken{mysql("0", "0", nil), "information_schema.columns"}, Writer, 0},
	} {
		a, err := c.ask(t.Context(), c.s, cluster)
		if !errors.Is(err, errBroken) || a.Self != c.want || len(a.Instances) != c.many {
			t.Errorf("%+v (%v), want role %v, %d instances and the connection's error", a, err, c.want, c.many)
		}
	}
	if _, err := AskPostgres(t.Context(), answers{}, cluster); err == nil {
		t.Error("no error of a server that refuses to tell its role")
	}
}

func TestInstanceHost(t *testing.T) {
	for _, c := range []struct{ endpoint, name, want string }{
		{cluster.Host, "orders-1", one.Host},
		{"orders.cluster-ro-abc.eu-west-1.rds.amazonaws.com", "orders-1", one.Host},
		{"reports.cluster-custom-abc.eu-west-1.rds.amazonaws.com", "orders-1", one.Host},
		{"ORDERS.Cluster-ABC.eu-west-1.rds.amazonaws.com.", "Orders-1", one.Host},
		{two.Host, "orders-1", one.Host},
		{"o.cluster-abc.us-gov-west-1.rds.amazonaws.com", "o-1", "o-1.abc.us-gov-west-1.rds.amazonaws.com"},
		{"o.cluster-abc.rds.cn-north-1.amazonaws.com.cn", "o-1", "o-1.abc.rds.cn-north-1.amazonaws.com.cn"},
		{"o.cluster-abc.cn-north-1.rds.amazonaws.com.cn", "o-1", "o-1.abc.cn-north-1.rds.amazonaws.com.cn"},
		{"o.cluster-abc.rds.us-iso-east-1.c2s.ic.gov", "o-1", "o-1.abc.rds.us-iso-east-1.c2s.ic.gov"},
		{"o.proxy-abc.eu-west-1.rds.amazonaws.com", "o-1", ""},
		{"o.endpoint.proxy-abc.eu-west-1.rds.amazonaws.com", "o-1", ""},
		{"o.shardgrp-abc.eu-west-1.rds.amazonaws.com", "o-1", ""},
		{"orders.example", "o-1", ""},
		{"127.0.0.1", "o-1", ""},
		{"::1", "o-1", ""},
		{"abc.eu-west-1.rds.amazonaws.com", "o-1", ""},
		{"eu-west-1.rds.amazonaws.com", "o-1", ""},
		{"o.cluster-abc.eu-west-1.rds.amazonaws.com.evil.example", "o-1", ""},
		{cluster.Host, "", ""},
		{cluster.Host, "evil.example/", ""},
		{cluster.Host, "o-1.abc", ""},
		{cluster.Host, strings.Repeat("o", 64), ""},
		{strings.Repeat("o", 64) + ".cluster-abc.eu-west-1.rds.amazonaws.com", "o-1", ""},
	} {
		if got, ok := InstanceHost(c.endpoint, c.name); got != c.want || ok != (c.want != "") {
			t.Errorf("%q beside %q: %q (%v), want %q", c.name, c.endpoint, got, ok, c.want)
		}
	}
}

func FuzzInstanceHost(f *testing.F) {
	for _, name := range []string{"orders-1", "o.x", "", "ÄÖ"} {
		f.Add(cluster.Host, name)
		f.Add("o.cluster-abc.rds.cn-north-1.amazonaws.com.cn", name)
	}
	f.Fuzz(func(t *testing.T, endpoint, name string) {
		host, ok := InstanceHost(endpoint, name)
		if !ok {
			if host != "" {
				t.Errorf("%q, which is not ok", host)
			}
			return
		}
		label, domain, _ := strings.Cut(host, ".")
		if !strings.EqualFold(label, name) || !strings.HasSuffix(canonical(endpoint), domain) || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
			t.Errorf("%q beside %q: %q", name, endpoint, host)
		}
		if again, ok := InstanceHost(host, name); !ok || again != host {
			t.Errorf("beside itself %q is %q (%v)", host, again, ok)
		}
	})
}

// FuzzAnswer holds that no list makes an answer that is too long, or leads out of the account.
func FuzzAnswer(f *testing.F) {
	f.Add("orders-1", writersSession, "12", "1700000000", target)
	f.Add(two.Host, "5432", "-1", "NaN", "")
	f.Add("orders.evil.example", "5432", "1e999", "x", source)
	f.Add(`{"id": 1, "endpoint": "`+three.Host+`", "port": 5432, "role": "`+target+`"}`, "b", "c", "d", "SWITCHOVER_COMPLETED")
	f.Fuzz(func(t *testing.T, a, b, c, d, e string) {
		rows := [][]string{{a, b, c, d, e}, {b, a, d, c, e}, {e, a, b, c, d}, {d, e, a, b, c}}
		var objects [][]string
		for _, row := range rows {
			objects = append(objects, []string{row[0]})
		}
		pg := postgres("t", "aurora_replica_status,aurora_db_instance_identifier,get_blue_green_fast_switchover_metadata", answers{"aurora_replica_status()": rows, "'credproxy'": objects})
		rds := postgres("f", "show_topology", answers{"'credproxy'": objects})
		my := mysql("0", "0", answers{"information_schema.columns": columnsOf("id endpoint port role status"), "mysql.rds_topology": rows, "@@global.server_id": {{a}}})
		auroraMySQL := mysql("1", "0", answers{"aurora_server_id": {{"", a}}, "replica_host_status": {rows[0][:4], rows[1][:4], rows[2][:4]}})
		for i, s := range []Session{pg, rds, my, auroraMySQL} {
			ask := AskPostgres
			if i > 1 {
				ask = AskMySQL
			}
			got, err := ask(t.Context(), s, cluster, own)
			if err != nil || got.Self == Unknown {
				t.Fatalf("%+v (%v)", got, err)
			}
			if len(got.Instances) > MaxInstances || len(got.Name) > maxName {
				t.Errorf("too much: %+v", got)
			}
			places := []Place{cluster}
			if got.Green != nil {
				places = append(places, *got.Green)
			}
			for _, i := range got.Instances {
				if i.Lag > maxLag || len(i.Name) > maxName || i.Name == "" {
					t.Errorf("instance %+v", i)
				}
				if i.Place != (Place{}) {
					places = append(places, i.Place)
				}
			}
			for _, p := range places {
				if p != own && accountDomain(p.Host) != "abc.eu-west-1.rds.amazonaws.com" || p.Port < 1 || p.Port > 65535 {
					t.Errorf("the answer leads to %+v", p)
				}
			}
		}
	})
}
