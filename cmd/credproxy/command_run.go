package main

import (
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/daemon"
	"github.com/credproxy/credproxy/logging"
	"github.com/credproxy/credproxy/upgrade"
)

func runCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run [-c FILE] [SECRET_ARN...]",
		Short: "Listen, log applications in, relay",
		Long: `Run listens for applications and logs them in to their databases.

With the ARN of a secret it needs no file: engine, host and port come from the
secret, and it listens on 127.0.0.1 and ::1 at the engine's port. With several secrets
of one engine the others get the next ports, which are printed at start.

Each flag can also be set by an environment variable: CREDPROXY_ and its name in
capitals, such as CREDPROXY_LOG_LEVEL. Flags come before the environment, which
comes before the file.

When the file changes, or at a SIGHUP, run reads it again. Databases that stay as they
are do not notice. A file with a mistake changes nothing, and the log says what is
wrong. The sections admin (but for readiness), log.format, metrics and tracing are for
the next start. Certificates that the file names are read again in the same way. With
discover in the file a SIGHUP also asks AWS at once.

At a SIGUSR2 run puts a new process in its place, as credproxy upgrade does.`,
		Example: `  credproxy run arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders-AbCdEf
  credproxy run -c /etc/credproxy/credproxy.yaml`,
		RunE: func(cmd *cobra.Command, arns []string) (err error) {
			program := upgrade.Self()
			succession, err := upgrade.Take()
			if err != nil {
				return err
			}
			defer func() {
				if err != nil {
					succession.Failed(err)
				}
			}()
			load := func() (*config.Config, error) { return loadConfig(cmd, file, arns) }
			cfg, err := load()
			if err != nil {
				return err
			}
			log, level := logging.New(cfg.Log.Level, cfg.Log.Format, cmd.ErrOrStderr())
			restore, err := zap.RedirectStdLogAt(log, zap.DebugLevel) // package net/http writes there
			if err != nil {
				return err
			}
			defer restore()
			err = daemon.Run(cmd.Context(), cfg, daemon.Options{Log: log, Level: level, File: file, Load: load, EMF: cmd.OutOrStdout(), Version: version,
				Program: program, Succession: succession})
			if err != nil && exitStatus(err) != exitUsage {
				log.Error("credproxy ends", zap.Error(err))
				return loggedError{err}
			}
			return err
		},
	}
	configFlag(cmd, &file)
	cmd.Flags().Bool("debug", false, "log each step of each login, as --log-level debug does")
	for _, s := range config.Settings() {
		if s.Bool {
			cmd.Flags().Bool(s.Flag, s.Default == "true", s.Usage)
		} else {
			cmd.Flags().String(s.Flag, s.Default, s.Usage)
		}
	}
	return cmd
}
