# credproxy, in the account of a secret or database that credproxy of another account uses:
# the role that it takes (assume_role), with the least policy, as "credproxy policy --role"
# prints it.

variable "role_name" {
  type    = string
  default = "credproxy-reader"
}

variable "trusted_role_arn" {
  description = "Role of credproxy in the other account. Output of credproxy there."
  type        = string
}

variable "external_id" {
  description = "The same as assume_role.external_id. No secret."
  type        = string
}

variable "secret_arn" {
  type    = string
  default = ""
}

variable "kms_key_arn" {
  description = "The secret's key, if it is your own."
  type        = string
  default     = ""
}

variable "database_user_arn" {
  description = "IAM authentication: such as arn:aws:rds-db:eu-west-1:123456789012:dbuser:cluster-ABC/app"
  type        = string
  default     = ""
}

data "aws_region" "this" {}

locals {
  policy = concat(
    var.database_user_arn == "" ? [] : [{
      Sid      = "ConnectToDatabases"
      Effect   = "Allow"
      Action   = ["rds-db:connect"]
      Resource = [var.database_user_arn]
    }],
    var.kms_key_arn == "" ? [] : [{
      Sid       = "DecryptSecrets"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [var.kms_key_arn]
      Condition = { StringEquals = { "kms:ViaService" = ["secretsmanager.${data.aws_region.this.region}.amazonaws.com"] } }
    }],
    var.secret_arn == "" ? [] : [{
      Sid      = "ReadSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"]
      Resource = [var.secret_arn]
    }],
  )
}

resource "aws_iam_role" "this" {
  name        = var.role_name
  description = "credproxy of another account"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TrustCredproxy"
      Effect    = "Allow"
      Principal = { AWS = var.trusted_role_arn }
      Action    = ["sts:AssumeRole"]
      Condition = { StringEquals = { "sts:ExternalId" = [var.external_id] } }
    }]
  })

  lifecycle {
    precondition {
      condition     = length(local.policy) > 0
      error_message = "One of secret_arn and database_user_arn is needed."
    }
  }
}

resource "aws_iam_role_policy" "this" {
  name   = "credproxy"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.policy })
}

output "role_arn" {
  value = aws_iam_role.this.arn
}
