package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// execute runs the command that args name and returns the exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if _, logged := errors.AsType[loggedError](err); err != nil && !logged {
		fmt.Fprintf(stderr, "credproxy: %v\n", err)
	}
	return exitStatus(err)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "credproxy",
		Short: "Connect to Amazon RDS and Aurora without a password",
		Long: `credproxy is a sidecar that logs applications in to Amazon RDS and Aurora.

An application connects to localhost over the ordinary PostgreSQL or MySQL
protocol with no password. credproxy logs in for it, over verified TLS, with a credential from
AWS Secrets Manager or an IAM token, and keeps working when the credential rotates.`,
		Args:              usage(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd) },
		SilenceErrors:     true,
		SilenceUsage:      true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
	})
	root.AddCommand(runCommand(), checkCommand(), policyCommand(), statusCommand(), waitCommand(), healthcheckCommand(),
		shutdownCommand(), upgradeCommand(), breakGlassCommand(), rotateCommand(), rollbackCommand(), initCommand(), versionCommand())
	nameVariables(root)
	return root
}

// usage marks the errors of a check of arguments.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}
