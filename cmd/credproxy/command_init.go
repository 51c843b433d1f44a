package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/credproxy/credproxy/check"
	"github.com/credproxy/credproxy/config"
	"github.com/credproxy/credproxy/inventory"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

func initCommand() *cobra.Command {
	var (
		out, profile     string
		force, walk      bool
		timeout          time.Duration
		asked            inventory.Options
		choice           inventory.Choice
		role, externalID string
		tags             []string
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a configuration for the databases of an AWS account",
		Long: `Init asks AWS which databases of RDS and Aurora the account has in one region, and
writes a configuration with comments: a name, an engine, an endpoint and a free port
on loopback for each. For a cluster it writes the writer and the readers.

A login comes from the secret that RDS manages for a database or that is attached to
it. With --read-secrets it also comes from a secret whose value names the database's
host; nothing else of the value is used. If there is no secret and IAM is on, it comes
by IAM. What cannot be served stands at the file's end, with the reason.

AWS credentials come as for the AWS CLI. They must allow rds:DescribeDBClusters,
rds:DescribeDBInstances and secretsmanager:ListSecrets, with --read-secrets also
secretsmanager:BatchGetSecretValue and GetSecretValue. If AWS denies a call, init says
so and writes the rest. --role takes a role first, and credproxy will take it too.

Init leaves a file that exists alone, unless --force is given.

--check then does what credproxy check does. credproxy policy -c FILE --lookup prints
what the configuration must be allowed.

Exit status: 0 written; 1 written, but AWS did not tell all, or the check failed; or
not written; 2 bad usage, or the file is there and --force is not given.`,
		Example: `  credproxy init
  credproxy init --region eu-west-1 --tag team=shop -o credproxy.yaml --check
  credproxy init --profile prod --role arn:aws:iam::210987654321:role/reader --read-secrets -o credproxy.yaml`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if walk && out == "" {
				return usageError{errors.New("--check needs a file; add -o FILE")}
			}
			if _, err := os.Stat(out); err == nil && !force {
				return usageError{fmt.Errorf("%s is there already; --force writes over it", out)}
			}
			if externalID != "" && role == "" {
				return usageError{errors.New("--external-id does nothing without --role")}
			}
			choice.Tags = map[string]string{}
			for _, tag := range tags {
				key, value, _ := strings.Cut(tag, "=")
				choice.Tags[key] = value
			}
			if profile != "" {
				useProfile(profile)
			}
			asked.Role = awscfg.Role{ARN: role, ExternalID: externalID}
			choice.AssumeRole = config.AssumeRole{RoleARN: role, ExternalID: externalID}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			client, err := inventory.NewClient(ctx, asked)
			if err != nil {
				return err
			}
			account, err := client.Ask(ctx)
			if err != nil {
				return err
			}
			return writePlan(cmd, account.Plan(choice), out, force, walk)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "file to write (default: standard output)")
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	cmd.Flags().BoolVar(&walk, "check", false, "then check the way to each database")
	cmd.Flags().StringVar(&asked.Region, "region", "", "region to ask (default: the SDK's)")
	cmd.Flags().StringVar(&profile, "profile", "", "profile of the shared AWS configuration")
	cmd.Flags().StringVar(&role, "role", "", "ARN of a role to take first, which credproxy will take, too")
	cmd.Flags().StringVar(&externalID, "external-id", "", "external id that the role's trust policy asks for")
	cmd.Flags().StringSliceVar(&tags, "tag", nil, "only databases with this tag, as KEY=VALUE, or KEY for any value; of several, all")
	cmd.Flags().BoolVar(&asked.ReadSecrets, "read-secrets", false, "read the secrets that are attached to no database, for the host that they name")
	cmd.Flags().StringVar(&choice.IAMUser, "iam-user", "app", "database user of IAM logins")
	cmd.Flags().StringVar(&choice.CAFile, "tls-ca-file", "", "certificates that the databases' must chain to (default: the system's and RDS's)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "give up asking after this long")
	return cmd
}

// useProfile has the SDK take a profile in this process, and so the check, too. Keys in the
// environment would come before it.
func useProfile(name string) {
	for _, variable := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		_ = os.Unsetenv(variable)
	}
	_ = os.Setenv("AWS_PROFILE", name)
}

// writePlan writes the configuration, says what it lacks, and walks it if it should.
func writePlan(cmd *cobra.Command, plan *inventory.Plan, out string, force, walk bool) error {
	for _, line := range plan.Remarks() {
		fmt.Fprintln(cmd.ErrOrStderr(), line)
	}
	text, err := plan.Text()
	if err != nil {
		return err
	}
	if out == "" {
		_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	} else {
		err = inventory.WriteFile(out, text, force)
	}
	if err != nil {
		return err
	}
	if walk {
		cfg, err := config.Load(out)
		if err != nil {
			return err
		}
		if err := printChecks(cmd.OutOrStdout(), check.Run(cmd.Context(), cfg), false); err != nil {
			return err
		}
	}
	if len(plan.Hidden) > 0 {
		return errors.New("AWS did not tell all; what it told is written")
	}
	return nil
}
