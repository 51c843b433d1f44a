# credproxy, once for each secret: the function that rotates it, its role with the least
# policy, as "credproxy policy --for rotation" prints it, a check that logs in after each
# rotation, and alarms. docs/rotation-setup.md says what the function needs in the database.

variable "name" {
  description = "Of the function, such as rotate-orders."
  type        = string
}

variable "secret_arn" {
  description = "Secret in this account that is rotated. Output of secret."
  type        = string
}

variable "kms_key_arn" {
  description = "The secret's key, if it is your own."
  type        = string
  default     = ""
}

variable "master_secret_arn" {
  description = "Secret of a user who may set passwords (masterarn), for alternating users or where users may not set their own."
  type        = string
  default     = ""
}

variable "master_kms_key_arn" {
  description = "The master secret's key, if it is your own."
  type        = string
  default     = ""
}

variable "describe_databases" {
  description = "The secret's host is a replica of the master secret's: lets the function ask RDS. Of a master secret that RDS manages it is known."
  type        = bool
  default     = false
}

variable "zip_file" {
  description = "credproxy-rotation_VERSION_linux_arm64.zip of a release, here; or the bucket and key that it is at."
  type        = string
  default     = ""
}

variable "s3_bucket" {
  type    = string
  default = ""
}

variable "s3_key" {
  type    = string
  default = ""
}

variable "s3_object_version" {
  type    = string
  default = ""
}

variable "architecture" {
  description = "That of the zip: arm64 or x86_64 (the release's amd64)."
  type        = string
  default     = "arm64"
  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "arm64 or x86_64."
  }
}

variable "subnet_ids" {
  description = "Reach the database, and Secrets Manager by its VPC endpoint or NAT."
  type        = list(string)
}

variable "security_group_ids" {
  type = list(string)
}

variable "strategy" {
  description = "single or alternating. Empty: alternating if the secret has masterarn."
  type        = string
  default     = ""
  validation {
    condition     = contains(["", "single", "alternating"], var.strategy)
    error_message = "single or alternating."
  }
}

variable "owner_role" {
  description = "PostgreSQL, alternating users: the role that both are members of and that owns what they make."
  type        = string
  default     = ""
}

variable "password_source" {
  description = "Who makes the passwords: local, the function; secretsmanager, GetRandomPassword."
  type        = string
  default     = "local"
  validation {
    condition     = contains(["local", "secretsmanager"], var.password_source)
    error_message = "local or secretsmanager."
  }
}

variable "environment" {
  description = "Further variables of docs/rotation-setup.md, such as { PASSWORD_LENGTH = \"40\" }."
  type        = map(string)
  default     = {}
  validation {
    condition = alltrue([for name in keys(var.environment) : contains([
      "SECRETS_MANAGER_ENDPOINT", "EXCLUDE_CHARACTERS", "PASSWORD_LENGTH", "EXCLUDE_NUMBERS", "EXCLUDE_PUNCTUATION", "EXCLUDE_UPPERCASE",
      "EXCLUDE_LOWERCASE", "REQUIRE_EACH_INCLUDED_TYPE", "ALLOW_MD5", "RETAIN_PASSWORD", "DISCARD_AFTER", "TLS_SERVER_NAME",
      "TLS_CA_FILE", "CHECK_WRITE_TABLE", "LOG_LEVEL",
    ], name)])
    error_message = "A variable that the function does not read, or that has an argument of its own."
  }
}

variable "layers" {
  description = "Such as one with the certificates that TLS_CA_FILE names, below /opt. Those of RDS are in the function."
  type        = list(string)
  default     = []
}

variable "timeout" {
  description = "Seconds that a step of a rotation may take."
  type        = number
  default     = 60
}

variable "memory" {
  description = "In MB; the processor's share grows with it."
  type        = number
  default     = 256
}

variable "reserved_concurrency" {
  description = "Of the account's concurrency, kept for this function. -1: none."
  type        = number
  default     = -1
}

variable "check_schedule" {
  description = "Such as rate(5 minutes): logs in this often as well. Empty: only after a rotation."
  type        = string
  default     = ""
}

variable "alert_topic_arns" {
  description = "Output of account, in a list, whose length is known even when account is made in the same run. Empty: nobody is told."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  type    = number
  default = 90
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  partition = data.aws_partition.this.partition
  via       = { StringEquals = { "kms:ViaService" = ["secretsmanager.${data.aws_region.this.region}.amazonaws.com"] } }
  rds       = "arn:${local.partition}:rds:${data.aws_region.this.region}:${data.aws_caller_identity.this.account_id}"
  describes = var.describe_databases || strcontains(var.master_secret_arn, ":secret:rds!")

  environment = merge(
    var.environment,
    { PASSWORD_SOURCE = var.password_source },
    var.strategy == "" ? {} : { STRATEGY = var.strategy },
    var.master_secret_arn == "" ? {} : { MASTER_SECRET = var.master_secret_arn },
    var.owner_role == "" ? {} : { OWNER_ROLE = var.owner_role },
  )

  policy = concat(
    var.master_kms_key_arn == "" ? [] : [{
      Sid       = "DecryptSecrets"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [var.master_kms_key_arn]
      Condition = local.via
    }],
    local.describes ? [{
      Sid      = "DescribeClusters"
      Effect   = "Allow"
      Action   = ["rds:DescribeDBClusters"]
      Resource = ["${local.rds}:cluster:*"]
    }] : [],
    local.describes ? [{
      Sid      = "DescribeInstances"
      Effect   = "Allow"
      Action   = ["rds:DescribeDBInstances"]
      Resource = ["${local.rds}:db:*"]
    }] : [],
    var.kms_key_arn == "" ? [] : [{
      Sid       = "EncryptSecrets"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = [var.kms_key_arn]
      Condition = local.via
    }],
    var.password_source == "local" ? [] : [{
      Sid      = "MakePasswords"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetRandomPassword"]
      Resource = ["*"]
    }],
    var.master_secret_arn == "" ? [] : [{
      Sid      = "ReadSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
      Resource = [var.master_secret_arn]
    }],
    [{
      Sid      = "RotateSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"]
      Resource = [var.secret_arn]
    }],
  )
}

resource "aws_iam_role" "this" {
  name_prefix = "credproxy-rotation-"
  description = "Rotation function ${var.name}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TrustThePlatform"
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = ["sts:AssumeRole"]
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "credproxy"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.policy })
}

# For the log, and the network interfaces that Lambda makes in the subnets.
resource "aws_iam_role_policy_attachment" "vpc" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_function" "this" {
  function_name                  = var.name
  description                    = "Rotates a secret of credproxy"
  role                           = aws_iam_role.this.arn
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  filename                       = var.zip_file == "" ? null : var.zip_file
  source_code_hash               = var.zip_file == "" ? null : filebase64sha256(var.zip_file)
  s3_bucket                      = var.s3_bucket == "" ? null : var.s3_bucket
  s3_key                         = var.s3_key == "" ? null : var.s3_key
  s3_object_version              = var.s3_object_version == "" ? null : var.s3_object_version
  layers                         = var.layers
  timeout                        = var.timeout
  memory_size                    = var.memory
  reserved_concurrent_executions = var.reserved_concurrency

  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = var.security_group_ids
  }

  environment {
    variables = local.environment
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this, aws_iam_role_policy_attachment.vpc]

  lifecycle {
    precondition {
      condition     = (var.zip_file == "") != (var.s3_bucket == "") && (var.s3_bucket == "") == (var.s3_key == "")
      error_message = "Either zip_file, or s3_bucket and s3_key."
    }
  }
}

resource "aws_lambda_permission" "rotation" {
  statement_id   = "SecretsManager"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this.function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = data.aws_caller_identity.this.account_id
}

# The check: a login with AWSCURRENT, whose failure is an error of the function.
resource "aws_cloudwatch_event_rule" "rotated" {
  name_prefix = "credproxy-rotated-"
  description = "AWSCURRENT of the secret of ${var.name} moves: check it"
  event_pattern = jsonencode({
    source      = ["aws.secretsmanager"]
    detail-type = ["Secret Label Updated"]
    resources   = [var.secret_arn]
    detail      = { labelUpdated = ["AWSCURRENT"] }
  })
}

resource "aws_cloudwatch_event_target" "rotated" {
  rule = aws_cloudwatch_event_rule.rotated.name
  arn  = aws_lambda_function.this.arn
}

resource "aws_lambda_permission" "rotated" {
  statement_id  = "CheckAfterRotation"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.rotated.arn
}

resource "aws_cloudwatch_event_rule" "schedule" {
  count               = var.check_schedule == "" ? 0 : 1
  name_prefix         = "credproxy-check-"
  description         = "Check the secret of ${var.name}"
  schedule_expression = var.check_schedule
}

resource "aws_cloudwatch_event_target" "schedule" {
  count = var.check_schedule == "" ? 0 : 1
  rule  = aws_cloudwatch_event_rule.schedule[0].name
  arn   = aws_lambda_function.this.arn
  input = jsonencode({ Action = "check", SecretId = var.secret_arn })
}

resource "aws_lambda_permission" "schedule" {
  count         = var.check_schedule == "" ? 0 : 1
  statement_id  = "CheckOnSchedule"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.schedule[0].arn
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name} errors"
  alarm_description   = "A step of a rotation or a check failed. See docs/runbook.md, \"RotationFailed\"."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alert_topic_arns
}

# Milliseconds: 80 % of the timeout, at which a step is killed.
resource "aws_cloudwatch_metric_alarm" "duration" {
  alarm_name          = "${var.name} duration"
  alarm_description   = "A step of a rotation or a check took most of its ${var.timeout} s: raise timeout before one is killed."
  namespace           = "AWS/Lambda"
  metric_name         = "Duration"
  dimensions          = { FunctionName = aws_lambda_function.this.function_name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.timeout * 800
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alert_topic_arns
}

output "function_arn" {
  description = "For rotation_function_arn of secret, which waits until Secrets Manager may call it."
  value       = aws_lambda_function.this.arn
  depends_on  = [aws_lambda_permission.rotation]
}

output "role_arn" {
  value = aws_iam_role.this.arn
}
