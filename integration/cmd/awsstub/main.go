// Command awsstub runs the AWS stand-in by hand: it prints the environment that makes an AWS SDK use it, serves until
// interrupted, and writes a line per call to standard error. It keeps nothing: what was put into it is gone at its end.
//
//	awsstub -listen 127.0.0.1:0 -secret prod/orders=orders.json [-credentials container] > aws.env
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/credproxy/credproxy/integration/awsstub"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "awsstub:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	secrets := make(map[string]string)
	flags := flag.NewFlagSet("awsstub", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "`address` to listen on")
	region := flags.String("region", awsstub.DefaultRegion, "the one `region` there is")
	credentials := flags.String("credentials", "key", "where the printed environment gets credentials: key, container or instance")
	flags.Func("secret", "`NAME=FILE`: a secret that holds the file's content; may be repeated", func(v string) error {
		return readSecret(secrets, v)
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	s, err := awsstub.Start(awsstub.Options{Listen: *listen, Region: *region, Secrets: secrets, OnCall: func(c awsstub.Call) {
		fmt.Fprintf(stderr, "%s %s %s %s %s %s\n", c.Time.Format("15:04:05.000"), c.Operation, c.SecretID, c.Stage, c.VersionID, c.Result)
	}})
	if err != nil {
		return err
	}
	defer s.Close()

	env, ok := map[string]func() []string{"key": s.Env, "container": s.ContainerEnv, "instance": s.InstanceEnv}[*credentials]
	if !ok {
		return fmt.Errorf("-credentials %q is not key, container or instance", *credentials)
	}
	for _, v := range env() {
		fmt.Fprintln(stdout, "export", v) // no value has a character that a shell would read otherwise
	}
	<-ctx.Done()
	return nil
}

func readSecret(secrets map[string]string, arg string) error {
	name, file, ok := strings.Cut(arg, "=")
	if !ok {
		return errors.New("want NAME=FILE")
	}
	if _, ok := secrets[name]; ok {
		return fmt.Errorf("secret %q is given twice", name)
	}
	value, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	secrets[name] = strings.TrimSuffix(string(value), "\n")
	return nil
}
