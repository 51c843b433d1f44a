package proxy

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/credproxy/credproxy/proxy/peer"
)

// BenchmarkConnectIdentity connects 10,000 times with the client's user looked up
// and 10,000 times without, in turns, and reports what the one costs in terms of
// the other. A session is as short as can be: no login, one byte.
func BenchmarkConnectIdentity(b *testing.B) {
	const connects = 10_000
	var peers peer.Resolver
	defer peers.Close()
	without := connectTo(b, Access{})
	with := connectTo(b, Access{Owner: peers.Owner, UIDs: map[uint32]string{uint32(os.Geteuid()): "me"}})
	var took [2]time.Duration
	var ratios []float64
	for b.Loop() {
		var round [2]time.Duration
		for range connects / 100 { // in turns of 100, so that noise hits both
			for i, addr := range []string{without, with} {
				start := time.Now()
				for range 100 {
					connectOnce(b, addr)
				}
				round[i] += time.Since(start)
			}
		}
		took[0] += round[0]
		took[1] += round[1]
		ratios = append(ratios, float64(round[1])/float64(round[0]))
	}
	b.Logf("per round of %d connects: with/without %.3f", connects, ratios)
	b.ReportMetric(float64(took[1])/float64(took[0]), "with/without")
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(b.N*connects), "ns/connect-without")
	b.ReportMetric(float64(took[1].Nanoseconds())/float64(b.N*connects), "ns/connect-with")
}

func connectTo(b *testing.B, access Access) (addr string) {
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel))
	s := &Server{Access: access, Log: log, Observer: nopObserver{}, Limits: Limits{MaxConnections: 100, LoginTimeout: time.Minute},
		Engine: engineFunc(func(_ context.Context, s *Session) error {
			if err := s.Admit(); err != nil {
				return err
			}
			_, err := s.Client.Write([]byte{1})
			s.LoggedIn()
			return err
		})}
	ln, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.Serve(ctx, ctx, ln.(*net.TCPListener))
	b.Cleanup(func() { stop(); s.Wait(); _ = ln.Close() })
	return ln.Addr().String()
}

func connectOnce(b *testing.B, addr string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetLinger(0) // no port in TIME_WAIT
	if n, err := io.ReadFull(c, make([]byte, 1)); n != 1 {
		b.Fatal(err)
	}
}
