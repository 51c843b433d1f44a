// Command bench measures credproxy side by side with a direct connection over TLS
// and with other proxies, on real servers of PostgreSQL and MySQL.
//
// Contenders take turns in every round, each round begins with another one, and
// what counts is the median of a contender's ratios to the direct connection of
// the same round: so a machine that is busy with something else for a while harms
// all alike. The rounds go to a file of results, to which a later run adds; the
// table and the chart are made of all of them.
//
// It is no test: it asserts nothing, and a contender that fails fails the run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	binary  string            // of credproxy
	against map[string]string // other builds of credproxy, by name
	others  map[string]string // further contenders for PostgreSQL: a libpq connection string, by name
	rounds  int
	seconds int      // of each measurement
	copyMB  int      // of COPY
	idle    []int    // numbers of idle sessions, least first; each takes two descriptors of credproxy's
	many    []int    // numbers of busy sessions, beyond the usual, least first
	cases   []string // parts of their names; none: all
	results string   // file
	docs    string   // folder for the table and the chart; "": none
}

func main() {
	var o options
	o.against, o.others = map[string]string{}, map[string]string{}
	quick := flag.Bool("quick", false, "one short round, to see that it works; its figures mean little")
	flag.StringVar(&o.binary, "credproxy", "../bin/credproxy", "the `binary`")
	flag.Func("against", "`NAME=BINARY`: another build of credproxy to compare; may be repeated", pairs(o.against))
	flag.Func("postgres", "`NAME=CONNINFO`: another proxy to PostgreSQL that is already running; may be repeated", pairs(o.others))
	flag.IntVar(&o.rounds, "rounds", 5, "how many rounds")
	flag.IntVar(&o.seconds, "seconds", 3, "how long each measurement takes")
	cases := flag.String("cases", "", "comma-separated `parts` of the names of the cases to run; default all")
	flag.StringVar(&o.results, "results", "", "`file` of results to add to; default none")
	flag.StringVar(&o.docs, "docs", "", "`folder` to write the table and the chart to; default none")
	flag.Parse()
	o.copyMB, o.idle, o.many = 1024, []int{5000, 9900}, []int{512, 4096}
	if *cases != "" {
		o.cases = strings.Split(*cases, ",")
	}
	if *quick { // its figures mean little, so no document gets them
		o.docs = ""
		o.rounds, o.seconds, o.copyMB, o.idle, o.many = 1, 1, 64, []int{200}, []int{200}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func pairs(into map[string]string) func(string) error {
	return func(arg string) error {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not NAME=VALUE", arg)
		}
		into[name] = value
		return nil
	}
}

// perSecond is how much is done at a rate in one measurement.
func (o *options) perSecond(rate float64) float64 { return rate * float64(o.seconds) }

// wants reports whether a case is asked for.
func (o *options) wants(name string) bool {
	for _, part := range o.cases {
		if strings.Contains(name, part) {
			return true
		}
	}
	return len(o.cases) == 0
}

func run(ctx context.Context, o options) error {
	r, err := loadResults(o.results)
	if err != nil {
		return err
	}
	for _, s := range []*series{postgresSeries(&o, r), mysqlSeries(&o, r), sessionSeries(&o, r)} {
		if err := s.run(ctx, &o, r); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	fmt.Println()
	fmt.Print(r.table())
	if o.docs != "" {
		return r.writeDocs(o.docs)
	}
	return nil
}

// contender is one way to the database.
type contender struct {
	name string
	addr string   // host:port
	args []string // what the client's program is told
	env  []string
	pid  int // of the proxy; 0: there is none
}

// metric is one figure of a case.
type metric struct {
	Case, Name, Unit string
	Lower            bool // is better
	Absolute         bool // has no ratio to the direct connection
}

// measurement is a case: a figure per metric for one contender.
type measurement struct {
	metrics []metric
	run     func(ctx context.Context, c contender) ([]float64, error)
	// work is how much was done, from the figures that run returned; with it, the
	// processor time for one piece of work is measured, too. nil: it is not.
	work func(values []float64) float64
}

// throughput is a case with the figure of throughput and, from work, that of
// processor time.
func throughput(name, unit string, work func(rate float64) float64, run func(ctx context.Context, c contender) (float64, error)) measurement {
	each := "µs each"
	if unit == "MB/s" {
		each = "µs per MB"
	}
	return measurement{
		metrics: []metric{{Case: name, Name: "throughput", Unit: unit}, {Case: name, Name: "processor time of all", Unit: each, Lower: true}},
		work:    func(values []float64) float64 { return work(values[0]) },
		run: func(ctx context.Context, c contender) ([]float64, error) {
			rate, err := run(ctx, c)
			return []float64{rate}, err
		},
	}
}

const latencyClients = 8

// latencies are those of queries at a fixed rate, in milliseconds: since each was
// due, and since it was sent, which is later where all clients still wait for answers.
type latencies struct {
	sinceDue, sinceSent []float64
}

// latency is a case with the latencies of point selects at a part of the rate that
// the direct connection can do, which is measured once.
func (r *results) latency(database, load string, part float64, directRate func(context.Context) (float64, error),
	at func(ctx context.Context, c contender, rate float64) (latencies, error)) measurement {
	name := fmt.Sprintf("%s select at %s, %d clients", database, load, latencyClients)
	figure := func(figure string) metric { return metric{Case: name, Name: figure, Unit: "ms", Lower: true} }
	return measurement{
		metrics: []metric{figure("median latency"), figure("p99 latency"), figure("p99 latency once sent")},
		run: func(ctx context.Context, c contender) ([]float64, error) {
			if r.Rates[name] == 0 {
				rate, err := directRate(ctx)
				if err != nil {
					return nil, err
				}
				r.Rates[name] = rate / part
			}
			l, err := at(ctx, c, r.Rates[name])
			return []float64{percentile(l.sinceDue, 0.5), percentile(l.sinceDue, 0.99), percentile(l.sinceSent, 0.99)}, err
		},
	}
}

// series are the cases of one database.
type series struct {
	name  string
	cases []measurement
	// start starts servers and contenders, the direct connection first.
	start func(ctx context.Context) (_ []contender, stop func(), err error)
	// server is the process id of the database.
	server func() int
}

func (s *series) run(ctx context.Context, o *options, r *results) error {
	var cases []measurement
	for _, m := range s.cases {
		if o.wants(m.metrics[0].Case) {
			cases = append(cases, m)
		}
	}
	if len(cases) == 0 {
		return nil
	}
	contenders, stop, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer stop()
	for round := range o.rounds {
		for _, m := range cases {
			r.begin(m.metrics)
			for i := range contenders {
				c := contenders[(i+round)%len(contenders)]
				before := allTime(s.server(), c.pid)
				values, err := m.run(ctx, c)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", m.metrics[0].Case, c.name, err)
				}
				if m.work != nil {
					values = append(values, (allTime(s.server(), c.pid)-before)/m.work(values)*1e6)
				}
				r.add(m.metrics, c.name, values)
				fmt.Printf("%s round %d  %-24s %-22s %s\n", time.Now().Format("15:04:05"), round+1, m.metrics[0].Case, c.name, describe(m.metrics, values))
			}
		}
		if err := r.save(); err != nil {
			return err
		}
	}
	return nil
}

func describe(metrics []metric, values []float64) string {
	var b strings.Builder
	for i, m := range metrics {
		if i < len(values) {
			fmt.Fprintf(&b, "%s %s %s  ", m.Name, number(values[i]), m.Unit)
		}
	}
	return b.String()
}
